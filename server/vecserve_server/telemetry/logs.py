"""Log lines, for a terminal or for a collector that reads JSON."""

import json
import logging
import sys
import warnings
from datetime import UTC, datetime
from typing import Any, Literal

from vecserve_server.telemetry.calls import call_if_any

_FIELDS = "fields"

LogFormat = Literal["console", "json"]


def fields(**values: Any) -> dict[str, Any]:
    """The `extra` of a log call whose values a JSON line has as fields; a message should tell them in words as well."""
    return {_FIELDS: values}


class JsonLines(logging.Formatter):
    """One JSON object a record: time (RFC 3339, UTC), level, logger, message, pid, fields, exception.

    What is logged while a call is answered also has its `request_id`, and its `trace_id` if it has one.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
            **_of_call(),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logs(level: str, form: LogFormat = "console", *, with_pid: bool = False) -> None:
    """Writes this server's log to standard error, from `level` up.

    On a console with the process's id where several write to it.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else _console(with_pid=with_pid))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.captureWarnings(capture=form == "json")
    # What is wrong with an image is told to whoever sent it; Pillow would also log it, and warn.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    # It reports at debug each time an event loop starts.
    logging.getLogger("asyncio").setLevel(logging.INFO)


def _console(*, with_pid: bool) -> logging.Formatter:
    pid = "[%(process)d] " if with_pid else ""
    return logging.Formatter(f"%(asctime)s %(levelname)-7s {pid}%(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S%z")


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _of_call() -> dict[str, str]:
    call = call_if_any()
    if not call or not call.request_id:
        return {}
    return {"request_id": call.request_id, **({"trace_id": call.trace_id} if call.trace_id else {})}
