"""Runs programs, and says in one line what failed."""

import subprocess
import sys
import time

BEGUN = time.monotonic()


def run(*command, text=None):
    """Runs a program to its end and returns what it printed; its failure ends this one."""
    words = [str(word) for word in command]
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise Failed(f"{' '.join(words)}: {reason}")
    return done.stdout


def try_run(*command):
    """Runs a program that may fail."""
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)


def eventually(seconds, what, condition, hint=""):
    """Waits until `condition` returns something true, and returns it."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {seconds} s{hint and '; ' + hint}")
        time.sleep(0.1)


def tell(message):
    """Says what was reached, and after how many seconds."""
    print(f"{time.monotonic() - BEGUN:5.1f} s  {message}", flush=True)


class Failed(Exception):
    """Ends the command with one line."""


def main(command):
    """Runs a command; what goes wrong is printed without a trace of calls."""
    try:
        command()
    except (Failed, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; `make cluster-down` removes what there is")
