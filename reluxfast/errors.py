"""The errors users see: each names what is wrong, by which rule, with which value, and what to do."""

from __future__ import annotations


class ReluxfastError(Exception):
    """Base class of every error raised on purpose by reluxfast."""


class InvalidInput(ReluxfastError, ValueError):
    """An argument breaks a rule.

    Args:
        argument: name of the argument.
        rule: what it must satisfy.
        value: what was given (shown as text).
        remedy: what to do about it.
    """

    def __init__(self, argument: str, rule: str, value: object, remedy: str = ""):
        self.argument, self.rule, self.value, self.remedy = argument, rule, value, remedy
        super().__init__(f"{argument} {rule}, got {value}" + (f". {remedy}" if remedy else ""))


class UnsupportedNode(ReluxfastError, ValueError):
    """A part of the model cannot be explained rightly, so it is refused.

    Args:
        op: the operation, as ATen names it.
        reason: why it is refused.
        module_path: dotted path of the module it was called in, "" for the root.
        source: source line (file, line number and text) where it was called, "" if unknown.
        method: the attribution method that met it, "" if refused for every method.
        remedy: what to do about it.
    """

    def __init__(
        self, op: str, reason: str, module_path: str = "", source: str = "", method: str = "", remedy: str = ""
    ):
        self.op, self.reason, self.module_path = op, reason, module_path
        self.source, self.method, self.remedy = source, method, remedy
        where = f" in module '{module_path}'" if module_path else " in the model's root module"
        for_method = f" (method {method})" if method else ""
        text = f"{op}{where}{for_method}: {reason}"
        if remedy:
            text += f". {remedy}"
        if source:
            text += f"\n  at {source}"
        super().__init__(text)


class BackendUnavailable(ReluxfastError, RuntimeError):
    """A backend was asked for by name and is not there.

    Args:
        backend: name of the backend.
        reason: why it is not there.
        remedy: what to do about it.
    """

    def __init__(self, backend: str, reason: str, remedy: str):
        self.backend, self.reason, self.remedy = backend, reason, remedy
        super().__init__(f"backend '{backend}' is not available: {reason}. {remedy}")
