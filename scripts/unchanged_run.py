"""Run many commands of one imgret, which may be an older one, in one process, so that its libraries are loaded once.

    python -P scripts/unchanged_run.py '{"package": ..., "preload": [...], "fork": true}'

Nothing but the standard library and the package itself is needed: `scripts/unchanged.py` starts it, with PYTHONPATH at the package, and
sends what is to be done as lines of JSON. With `fork`, workers of a command that has `-j1` begin as copies of this process, which cost no
start (PyTorch alone takes seconds); those of other commands are processes of their own as ever. If any module, or any worker's, is of
another package, this ends with an error.
"""

import importlib
import io
import json
import os
import signal
import subprocess
import sys
import traceback
import warnings


class Forked:
    """As much of `subprocess.Popen` as a worker needs, for Python code that begins as a copy of this process."""

    def __init__(self, code, env):
        (stdin, to_child), (from_child, stdout) = os.pipe(), os.pipe()
        self.returncode = None
        self.pid = os.fork()
        if not self.pid:
            os.close(to_child)  # or it would never see the end of its input
            os.close(from_child)
            _become(code, env, stdin, stdout)
        os.close(stdin)
        os.close(stdout)
        self.stdin, self.stdout = os.fdopen(to_child, "wb"), os.fdopen(from_child, "rb")

    def poll(self):
        """The exit code, or None while it runs."""
        return self.returncode if self.returncode is not None else self._ended(os.WNOHANG)

    def wait(self):
        """The exit code, once it has ended."""
        return self.returncode if self.returncode is not None else self._ended(0)

    def kill(self):
        """End it."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def _ended(self, options):
        pid, status = os.waitpid(self.pid, options)
        if pid:
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def _become(code, env, stdin, stdout):
    """Run code with these streams, and end this process; never returns."""
    status = 1
    try:
        os.setsid()
        os.dup2(stdin, 0)
        os.dup2(stdout, 1)
        sys.stdin, sys.stdout, sys.stderr = open(0, closefd=False), open(1, "w", closefd=False), sys.__stderr__
        os.environ.update(env)
        exec(code, {"__name__": "__main__"})
        status = 0
    except BaseException:  # noqa: BLE001  nothing of this copy may go on as if it were the original
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class Workers:
    """Takes the place of `subprocess.Popen`: workers are forked or checked, and counted."""

    def __init__(self, package, fork):
        self._package, self._fork, self._popen = package, fork, subprocess.Popen
        self.forked = self.started = 0
        self.one_job = True

    def __call__(self, command, **options):
        if command[:2] != [sys.executable, "-c"]:
            return self._popen(command, **options)
        if self._fork and self.one_job:
            self.forked += 1
            return Forked(command[2], options["env"])
        self.started += 1
        check = f"import imgret; assert imgret.__file__.startswith({self._package!r} + '/'), imgret.__file__\n"
        return self._popen([*command[:2], check + command[2]], **options)


def call(main, arguments):
    """Run one command; its exit code, stdout and stderr."""
    out, err, streams, code = io.BytesIO(), io.BytesIO(), (sys.stdout, sys.stderr), None
    sys.stdout, sys.stderr = io.TextIOWrapper(out), io.TextIOWrapper(err)
    try:
        main(arguments)
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        answer = out.getvalue(), err.getvalue()  # before the wrappers go and close them
        sys.stdout, sys.stderr = streams
    return code, *(text.decode("utf-8", "surrogateescape") for text in answer)


def run(folder, commands, workers):
    """Run the commands in a folder; what each answered."""
    from imgret.cli.main import main

    os.chdir(folder)
    answers = []
    for arguments in commands:
        workers.one_job = "-j1" in arguments
        begin = sum(os.times()[:4])
        code, out, err = call(main, arguments)
        answers.append({"code": code, "out": out, "err": err, "seconds": sum(os.times()[:4]) - begin})  # of CPUs, its workers' too
    return answers


def check_modules(package):
    """Make sure that all of imgret is the package's own."""
    modules = [module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "imgret"]
    others = [file for file in modules if not file.startswith(package + os.sep)]
    if others or not modules:
        raise SystemExit(f"imported from elsewhere than {package}: {others}")


def serve(package, preload, fork):
    """Read a folder and its commands as a line of JSON, run them, answer with a line; until the input ends."""
    channel = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what a library prints must not get into the answers
    for name in preload:
        importlib.import_module(name)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)  # a copy of this process would wait for ever for threads that were not copied
    if "PIL.Image" in sys.modules:
        sys.modules["PIL.Image"].init()  # loads its plugins, which each copy would do
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)  # those of libraries, and idle
    workers = subprocess.Popen = Workers(package, fork)
    while line := sys.stdin.readline():
        answers = run(**json.loads(line), workers=workers)
        check_modules(package)
        channel.write(json.dumps({"answers": answers, "forked": workers.forked, "started": workers.started}) + "\n")
        channel.flush()


if __name__ == "__main__":
    serve(**json.loads(sys.argv[1]))
