"""The program `imgret`, and `python -m imgret`. Signals are seen to before anything that takes a while is imported, and to the end."""

from imgret.importing import leave_current_folder


def main():
    """Run the command line; never returns."""
    leave_current_folder()  # before anything else is imported

    from imgret.runs import stopping

    stopping.stand()

    from imgret.cli.main import main as run

    try:
        run()
    except SystemExit as done:
        stopping.end(done.code)


if __name__ == "__main__":
    main()
