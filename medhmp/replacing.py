"""An output replaced under ``--overwrite``: the new one is made beside it, the old one goes last.

    OUT/shards/       the old output, whole until
    OUT/shards.new/   the new one is, too, which then takes its place

On disk the new folder is renamed. A bucket has no rename: there the old record goes, the new files
are copied over, and the new record is the last. Killed anywhere, a run leaves the old output whole
or the new one, and the same command goes on.
"""

import os

from medhmp.refusal import Refusal
from medhmp.storage import COMPLETE, Folder, Output, Stamp, fault_of


def room_for(
    folder: Folder, stamp: Stamp, overwrite: bool = False, resumes: bool = False
) -> Folder | None:
    """The folder in which to make the output of a stage; None if it is whole already.

    That is ``folder``, or the one beside it where an output of another run, or a damaged one, is to
    be replaced; after ``publish`` there, ``move_in(folder)`` puts it into its place. Without
    ``overwrite`` such an output is refused, naming the first field or input that differs.

    ``resumes``: the stage goes on with what a killed run of it has left; else that is removed.
    """
    new = beside(folder)
    replaced = Output.of(new)
    if replaced and (replaced.hash == stamp.hash or Output.of(folder) is None):
        move_in(folder)
    output = Output.of(folder)
    if output is None:
        return folder
    if folder.is_local:
        _put_aside(folder).remove()
    fault = fault_of(output, stamp)
    if fault and not overwrite:
        raise Refusal(fault)
    if not (fault and resumes):
        new.remove()  # of a run that was killed and given up
    return new if fault else None


def beside(folder: Folder) -> Folder:
    """The folder in which the replacement of an output is made."""
    return Folder(f"{folder.uri.rstrip('/')}.new")


def move_in(folder: Folder) -> None:
    """Puts the whole output that was made beside a folder into its place; else does nothing."""
    new = beside(folder)
    if Output.of(new) is None:
        return
    if folder.is_local:
        _rename(new, folder)
    else:
        _copy(new, folder)


def _rename(new: Folder, folder: Folder) -> None:
    old = _put_aside(folder)
    old.remove()
    if folder.exists():
        os.rename(folder.path(), old.path())
    os.rename(new.path(), folder.path())
    old.remove()


def _copy(new: Folder, folder: Folder) -> None:
    """Copies inside the bucket; nothing of it passes through this machine."""
    folder.remove()
    for name in sorted(new.names(), key=lambda name: (name == COMPLETE, name)):
        new.copy(name, folder)
    new.remove()


def _put_aside(folder: Folder) -> Folder:
    """The old output between the two renames of a replacement on disk."""
    return Folder(f"{folder.uri.rstrip('/')}.old")
