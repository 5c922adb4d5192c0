"""Files and folders that a user names: wrong ones are refused in words before work begins."""

from __future__ import annotations

import os
from pathlib import Path

from reluxfast.errors import InvalidInput


def readable_file(path: str | os.PathLike, argument: str) -> Path:
    """`path`, if it is a file that can be read.

    Raises:
        InvalidInput: nothing of that name, a folder, or no permission; `argument` says what the file is for.
    """
    path = Path(path)
    named = f"{argument} '{path}'"
    if not path.exists():
        raise InvalidInput(named, "must exist", "no such file", "Check the spelling and the folder")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "something else"
        raise InvalidInput(named, "must be a file", kind, "Name a file")
    if not os.access(path, os.R_OK):
        raise InvalidInput(named, "must be readable", "a file without that permission", "Allow reading it (chmod u+r)")
    return path


def writable_folder(path: str | os.PathLike, argument: str) -> Path:
    """`path`, if it is a folder that can be written to; made if missing.

    Raises:
        InvalidInput: it cannot be one.
    """
    path, remedy = Path(path), "Name another folder; it is made if missing"
    rule = "must be a folder that can be written to"
    for part in (path, *path.parents):
        if part.exists() and not part.is_dir():
            raise InvalidInput(argument, rule, f"'{path}', where '{part}' is a file", remedy)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(argument, rule, f"'{path}', which cannot be made ({reason(error)})", remedy) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise InvalidInput(argument, rule, f"'{path}', which may not be written to", remedy)
    return path


def reason(error: OSError) -> str:
    """What the system says, without its number."""
    return (error.strerror or type(error).__name__).lower()
