"""Backup and restore of a service's store: one file out of a running or stopped service, back into a stopped one.

What goes into a backup: the store as `storecopy` copies it, and files that belong to it (a gateway's opened sums). What does not: round
secrets, since a restored party must not be able to use them again (protocol.md, invariant 11); keys, which are sealed in a file of their
own and kept apart; configuration and policy, which their owners keep.

Restoring replaces the store at once or not at all: at every moment the file under the store's name is the old store or the new one. The
old one stays beside it under a name with the time; its round secrets are erased first.

    header = backup(site, Path("clinic-2027-01-31.parley"))
    restored = restore(site, Path("clinic-2027-01-31.parley"), now=time.time())
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from parley_service.backupfile import STORE, BackedUpFile, BackupHeader, digest_of, extract, read_header, write_backup
from parley_service.database import store_revision
from parley_service.errors import StoreDamagedError, StoreError
from parley_service.lockfile import FolderLock
from parley_service.sealedfile import sync_folder
from parley_service.storecopy import CopyRules, carry, copy_store, integrity_faults, retire, side_files

_ASIDE: Final = "before-restore"


@dataclass(frozen=True, slots=True)
class Site:
    """A service's store and where it lies. `folder` holds the lock; `extra`: folders of sums, by name in the backup."""

    kind: Literal["gateway", "party"]
    id: str
    folder: Path
    store: Path
    rules: CopyRules
    extra: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did. `aside` is where the store that was there lies now; `remark` says what could not be done to that one."""

    header: BackupHeader
    aside: Path | None
    remark: str


def backup(site: Site, out: Path, *, now: float) -> BackupHeader:
    """Write a backup into the new file `out` (0600) and return its header.

    ConfigError if the file exists; StoreError, StoreDamagedError or StoreNewerError if the store cannot be copied.
    """
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=site.store.parent) as drafts:
        draft = Path(drafts) / STORE
        copy_store(site.store, draft, site.rules)
        files = {STORE: draft} | _extra_files(site)
        entries = tuple(BackedUpFile(name=name, size=path.stat().st_size, blake3=digest_of(path)) for name, path in files.items())
        header = BackupHeader(kind=site.kind, id=site.id, revision=store_revision(draft, site.rules.package), at=int(now), files=entries)
        write_backup(out, header, files)
    sync_folder(out.absolute().parent)
    return header


def _extra_files(site: Site) -> dict[str, Path]:
    found = {}
    for name, folder in site.extra.items():
        for path in sorted(folder.rglob("*.sums")) if folder.is_dir() else ():
            found[f"{name}/{path.relative_to(folder).as_posix()}"] = path
    return found


def restore(site: Site, path: Path, *, now: float) -> Restored:
    """Put the store of a backup in place of whatever is there. Changes nothing unless the backup is sound and this service's.

    LockedError while the service runs or anybody reads the store; StoreError for another service's backup, StoreDamagedError for one that
    is not whole, StoreNewerError for one of a newer version.
    """
    with FolderLock(site.folder):
        header = read_header(path)
        if (header.kind, header.id) != (site.kind, site.id):
            raise StoreError(
                f"backup {path}",
                wanted=f"one of the {site.kind} {site.id}",
                got=f"one of the {header.kind} {header.id}",
                do="Say --home DIR, or use this service's own backup.",
            )
        with tempfile.TemporaryDirectory(prefix=".restore-", dir=_existing(site.store.parent)) as drafts:
            extract(path, header, Path(drafts))
            _require_sound(path, Path(drafts) / STORE, site, header)
            return _put_in_place(site, header, Path(drafts), now)


def _existing(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _require_sound(path: Path, draft: Path, site: Site, header: BackupHeader) -> None:
    faults = integrity_faults(draft) if draft.is_file() else ["no store in it"]
    if faults:
        raise StoreDamagedError(f"backup {path}", wanted="a sound store", got=faults[0][:200], do="Use another backup.")
    if store_revision(draft, site.rules.package) != header.revision:
        raise StoreDamagedError(f"backup {path}", wanted=f"a store of revision {header.revision}", got="another")


def _put_in_place(site: Site, header: BackupHeader, drafts: Path, now: float) -> Restored:
    for entry in header.files:
        name, _, rest = entry.name.partition("/")
        if rest and name in site.extra:
            target = site.extra[name] / rest
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.move(drafts / entry.name, target)  # the folder may be on another disk than the store
    aside, remark = None, ""
    if site.store.exists():
        remark = _take_leave(site, drafts / STORE)
        aside = _keep_aside(site.store, now)
    for side in side_files(site.store):  # left behind only where the old store could not be opened: they are not the new one's
        if aside is not None and side.exists():
            side.replace(aside.with_name(aside.name + side.name.removeprefix(site.store.name)))
        side.unlink(missing_ok=True)
    (drafts / STORE).replace(site.store)
    sync_folder(site.store.parent)
    return Restored(header, aside, remark)


def _take_leave(site: Site, draft: Path) -> str:
    """Take from the old store what it knows, and erase its round secrets; say what could not be done where it is too damaged."""
    try:
        carry(site.store, draft, site.rules)
        retire(site.store, site.rules)
    except StoreError as error:
        return f"the store that was there could not be read, so its round secrets may still be in it: {error}"
    return ""


def _keep_aside(store: Path, now: float) -> Path:
    """Give the old store a second name, so that the first one is never without a store."""
    stamp = datetime.fromtimestamp(now, tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = store.with_name(f"{store.name}.{_ASIDE}-{stamp}")
    if aside.exists():
        raise StoreError(f"{aside}", wanted="no file of that name", got="one", do="Wait a second and restore again.")
    try:
        os.link(store, aside)
    except OSError:  # a file system without links
        shutil.copyfile(store, aside)
        aside.chmod(0o600)
    return aside
