"""The `imgret` command: finds the step, and turns errors into a sentence and an exit code, in one place."""

import contextlib
import errno
import importlib
import io
import os
import sys

import click

from imgret import __version__, importing
from imgret.cli import COMMANDS
from imgret.cli.examples import epilog
from imgret.errors import ImgretError, one_line, sentence
from imgret.runs import stopping

EPILOG = "Exit: 0 done or up to date, 1 files or data, 2 usage, 75 stopped (run the same command again), 130 Ctrl-C."
STDOUT = "standard output"


class Steps(click.Group):
    """Loads a step's module only when it is asked for."""

    def list_commands(self, ctx):
        """The steps in pipeline order."""
        return list(COMMANDS)

    def get_command(self, ctx, name):
        """The step's command, or None."""
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"imgret.cli.{name}_" if name == "import" else f"imgret.cli.{name}")
        module.command.epilog = epilog(name)
        return module.command


@click.command(
    cls=Steps, epilog=f"{epilog('')}\n\n{EPILOG}", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="imgret")
def cli():
    """Turn a folder of photos into an index that finds the same object or place, one step per command."""


def main(arguments=None):
    """Run the command line; never returns. Without `arguments` it is this process's own."""
    if arguments is None:
        importing.leave_current_folder()
    _prepare_streams()
    try:
        with stopping.guard():
            code = cli.main(arguments, prog_name="imgret", standalone_mode=False)
        sys.stdout.flush()
        code = code if isinstance(code, int) else 0
    except click.ClickException as error:
        with contextlib.suppress(OSError):
            error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = _say("stopped by Ctrl-C", 130)
    except ImgretError as error:
        code = _say(str(error), error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader has had enough; nothing more to say at exit either
        code = 1
    except MemoryError:
        code = _say("out of memory: use fewer --jobs, or a smaller --max-memory or --sample", 1)
    except OSError as error:
        code = _say(_words(error), 1)
    except ImportError as error:
        text = importing.unloadable(error)
        if not text:
            raise
        code = _say(text, 1)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # a full disk has been told of; Python would try once more at exit
    sys.exit(code)


class _Named(io.FileIO):
    """Standard output, which says in an error that it is what failed."""

    def write(self, data):
        """Write some of it; see `io.FileIO.write`."""
        try:
            return super().write(data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, STDOUT) from None


def _prepare_streams():
    """UTF-8 in every locale, so that names come out as the bytes they are; streams that were closed lead nowhere.

    An answer that nobody gets is an error: where stdout was closed, nothing can be written to it.
    """
    own = sys.stdout is sys.__stdout__
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDONLY if name == "stdout" else os.O_RDWR)  # takes the lowest free number: this one
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))
    if own:
        raw = _Named(1, "w", closefd=False)
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), line_buffering=raw.isatty())
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")


def _words(error):
    """An OS error that nobody has put into words."""
    if error.filename == STDOUT and error.errno == errno.EBADF:
        return "standard output is closed, and what was to be written there is lost: open it, or send it to a file or /dev/null"
    return sentence(error)


def _say(text, code):
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"imgret: error: {one_line(text)}\n" if code != 130 else f"\nimgret: {text}\n")
    return code
