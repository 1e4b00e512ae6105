"""Writes zip archives with unusual entries."""

import io
import zipfile
from collections.abc import Iterable


def zipped(files: dict | Iterable[tuple], **changes: object) -> bytes:
    """Returns a zip archive; `changes` are attributes of all entries."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items() if isinstance(files, dict) else files:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for field, value in changes.items():
                setattr(info, field, value)
            archive.writestr(info, data)
    return content.getvalue()
