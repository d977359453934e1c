"""Memory that was freed, back to the operating system."""

import ctypes
import sys


def return_memory() -> None:
    """Has glibc give back what it keeps of freed memory, between what is still in use too; elsewhere does nothing."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
