"""Writes Parquet files, and opens those that may be damaged or malicious.

pyarrow is imported where it is used, because loading a model and predicting do not need it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow.parquet as pq


def to_bytes(columns: Mapping[str, Any]) -> bytes:
    """Returns the content of a Parquet file with these columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(dict(columns)), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def open_untrusted(content: bytes, dictionaries: Sequence[str] | None = None) -> "pq.ParquetFile":
    """Opens the content of a Parquet file with bounded metadata, and without Arrow's extensions.

    Args:
        content: of the file; check the size of a column before it is read.
        dictionaries: columns of texts to read as dictionaries, so that repeated ones are kept once.

    Raises:
        pa.ArrowException: it is not a Parquet file, or its metadata is too large.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.ParquetFile(
        pa.BufferReader(content),
        read_dictionary=dictionaries,
        pre_buffer=False,
        thrift_string_size_limit=2**24,
        thrift_container_size_limit=10**5,
        arrow_extensions_enabled=False,
    )
