"""Builds something again only when what it is made of has changed."""

import hashlib


def fresh(output, key):
    """Tells whether `output` was made for this key."""
    stamp = stamp_of(output)
    return output.exists() and stamp.exists() and stamp.read_text() == key


def record(output, key):
    """Remembers what `output` was made for."""
    stamp_of(output).write_text(key)


def stamp_of(output):
    return output.with_name(f".{output.name}.stamp")


def of_contents(files, *words):
    """A key that changes with the files' names and contents."""
    digest = hashlib.sha256(repr(words).encode())
    for file in sorted(files):
        digest.update(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def of_times(files, *words):
    """A key that changes with the files' sizes and times; for large files."""
    digest = hashlib.sha256(repr(words).encode())
    for file in sorted(files):
        about = file.stat()
        digest.update(f"{file} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()
