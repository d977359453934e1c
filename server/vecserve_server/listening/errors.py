"""Why the server can't be reached as it was asked to be."""


class BindError(Exception):
    """The address can't be listened on."""


class FileError(Exception):
    """A file of certificates, keys or tokens can't be used; the message names it and never quotes it."""
