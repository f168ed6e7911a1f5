"""`python -m imgret`."""

if __name__ == "__main__":
    from imgret.importing import leave_current_folder

    leave_current_folder()  # before anything else is imported

    from imgret.cli.main import main

    main()
