"""What stops a start, told to the person who typed the command."""

from __future__ import annotations

import errno


class StartError(Exception):
    """One plain sentence: what is wrong and what to do about it. Commands print it and end with exit code 1."""


def of_disk(error: OSError, where: str) -> StartError:
    """The sentence for a file that could not be written in `where`."""
    if error.errno == errno.ENOSPC:
        return StartError(f"The disk of {where} is full: free some space and run the same command again.")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return StartError(
            f"{where} cannot be written by this user: give it the rights, or run as the user who owns it."
        )
    return StartError(f"{where} cannot be used: {error.strerror or error}.")
