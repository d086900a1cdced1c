"""Removing the lake's orphans: files under a table's folder that no snapshot names.

They come from commits that lost a race or died before the swap, and from expired snapshots (PyIceberg expires entries
of the metadata and deletes no file). Only files older than an age go: a younger one may belong to a commit under way.
"""

import logging
from datetime import UTC, datetime, timedelta

import pyarrow.fs as pafs
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import Table

logger = logging.getLogger(__name__)


def remove_orphans(table: Table, *, age_s: float, now: datetime | None = None) -> int:
    """Delete what no snapshot names and what was last written longer than age_s seconds ago.

    Args:    table: freshly loaded.
    Returns: how many files were deleted.
    Raises:  OSError: the store cannot be listed or read now.
    """
    if not isinstance(table.io, PyArrowFileIO):
        logger.info("table %s: orphans are not removed with %s", table.name(), type(table.io).__name__)
        return 0
    scheme, netloc, folder = PyArrowFileIO.parse_location(table.location())
    files = table.io.fs_by_scheme(scheme, netloc)
    oldest_kept = (now or datetime.now(UTC)) - timedelta(seconds=age_s)
    candidates = [
        info.path
        for info in files.get_file_info(pafs.FileSelector(folder, recursive=True, allow_not_found=True))
        if info.type == pafs.FileType.File and info.mtime is not None and _utc(info.mtime) < oldest_kept
    ]
    if not candidates:
        return 0
    named = {PyArrowFileIO.parse_location(location)[2] for location in _named(table)}
    orphans = [path for path in candidates if path not in named]
    for path in orphans:
        files.delete_file(path)
    if orphans:
        logger.info("table %s: removed %d orphan files", ".".join(table.name()), len(orphans))
    return len(orphans)


def _named(table: Table) -> set[str]:
    """Every file that the table's metadata names, directly or not."""
    metadata = table.metadata
    named = {table.metadata_location, *(entry.metadata_file for entry in metadata.metadata_log)}
    named |= {statistics.statistics_path for statistics in metadata.statistics}
    named |= {statistics.statistics_path for statistics in metadata.partition_statistics}
    manifests = {}
    for snapshot in metadata.snapshots:
        named.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            manifests[manifest.manifest_path] = manifest
    named |= manifests.keys()
    for manifest in manifests.values():
        # Also the entries marked as deleted: an older snapshot, still kept, reads them.
        named |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False)}
    return named


def _utc(time: datetime) -> datetime:
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
