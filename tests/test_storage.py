import errno
import itertools
import multiprocessing
import os
import signal
import time

import pytest

from explorer import storage

OWN = ("a", "b", "c")
FIRST = {"a": b"1", "b": b"1", "c": b"1"}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "räume mit Leerzeichen" / "model"
    storage.replace_folder(folder, FIRST, OWN, ())
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def beside(folder):
    return sorted(path.name for path in folder.parent.iterdir())


def test_a_folder_is_replaced_and_keeps_what_it_is_told_to(folder):
    storage.replace_folder(folder, {"a": b"2"}, OWN, kept=("b",))
    assert contents(folder) == {"a": b"2", "b": b"1"}
    assert beside(folder) == [".model.lock", "model"]


def test_what_others_put_into_a_folder_stays_there(folder):
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "notes").write_bytes(b"mine")
    (folder / "notes.md").write_bytes(b"mine")
    storage.replace_folder(folder, {"a": b"2"}, OWN, kept=OWN)
    assert contents(folder) == {"a": b"2", "b": b"1", "c": b"1", "notes.md": b"mine"}
    assert contents(folder / ".ipynb_checkpoints") == {"notes": b"mine"}


def test_a_link_to_a_folder_stays_a_link(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder, target_is_directory=True)
    storage.replace_folder(link, {"a": b"2"}, OWN, ())
    assert link.is_symlink()
    assert contents(link) == contents(folder) == {"a": b"2"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device")])
@pytest.mark.parametrize(("step", "call"), [("_write", 1), ("_write", 3), ("_rename", 1), ("_rename", 2)])
def test_a_write_that_is_cut_off_leaves_the_old_folder_and_nothing_beside_it(folder, monkeypatch, step, call, error):
    calls, real = itertools.count(1), getattr(storage, step)

    def cut_off(*args):
        if next(calls) == call:
            raise error
        return real(*args)

    with monkeypatch.context() as patch, pytest.raises(error if isinstance(error, type) else type(error)):
        patch.setattr(storage, step, cut_off)
        storage.replace_folder(folder, dict.fromkeys(OWN, b"2"), OWN, ())
    assert contents(folder) == FIRST
    assert beside(folder) == [".model.lock", "model"]


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limits on files here")
def test_a_full_disk_is_told_with_the_file_and_leaves_nothing(folder):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match=r"\.state\.new"):
            storage.replace_file(folder.parent / ".model.state", bytes(2000))
        with pytest.raises(OSError, match=r"\.model\.new"):
            storage.replace_folder(folder, {"a": bytes(2000)}, OWN, ())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert contents(folder) == FIRST
    assert beside(folder) == [".model.lock", "model"]


def test_what_a_killed_writer_left_is_read_in_place_and_cleared_by_the_next_writer(folder):
    new, old = (folder.with_name(f".model.{word}") for word in ("new", "old"))
    new.mkdir()
    (new / "a").write_bytes(b"ha")
    folder.rename(old)
    assert storage.read_whole(folder, contents) == FIRST
    assert beside(folder) == [".model.lock", ".model.new", ".model.old"]
    storage.replace_folder(folder, {"a": b"2"}, OWN, kept=("b",))
    assert contents(folder) == {"a": b"2", "b": b"1"}
    assert beside(folder) == [".model.lock", "model"]


def test_a_reader_begins_anew_when_the_folder_was_replaced_under_it(folder):
    calls = itertools.count()

    def read(place):
        first = (place / "a").read_bytes()
        if (call := next(calls)) < 2:
            storage.replace_folder(folder, dict.fromkeys(OWN, b"version %d" % call), OWN, ())
        return first, (place / "b").read_bytes()

    first, second = storage.read_whole(folder, read)
    assert first == second == b"version 1"


def test_an_error_of_a_reader_stands_where_the_folder_was_not_replaced(folder):
    calls = itertools.count()

    def read(place):
        next(calls)
        return (place / "missing").read_bytes()

    for path in (folder, folder / "a", folder / "nowhere"):
        with pytest.raises(OSError, match="missing"):
            storage.read_whole(path, read)
    assert next(calls) == 3


def test_a_second_writer_waits_and_says_so(folder):
    fork = multiprocessing.get_context("fork")
    taken, waiting, done = fork.Event(), fork.Event(), fork.Event()

    def second():
        taken.wait(20)
        with storage.lock(folder, waiting.set):
            done.set()

    process = fork.Process(target=second)  # before there is a lock, which a fork would take for its own
    process.start()
    with storage.lock(folder), storage.lock(folder):
        taken.set()
        assert waiting.wait(20)
        assert not done.is_set()
    assert done.wait(20)
    process.join()


def test_a_lock_dies_with_its_process(folder):
    fork = multiprocessing.get_context("fork")
    held = fork.Event()

    def hold():
        with storage.lock(folder):
            held.set()
            time.sleep(60)

    process = fork.Process(target=hold)
    process.start()
    assert held.wait(20)
    process.kill()
    process.join()
    with storage.lock(folder, lambda: pytest.fail("the lock outlived its process")):
        pass


def write_for_ever(folder, number):
    for i in itertools.count(number, 2):
        storage.replace_folder(folder, dict.fromkeys(OWN, b"%d" % i * 200), OWN, ())


def read_for_ever(folder, queue, n_reads, killed):
    versions, errors = set(), []
    for i in range(1000 * n_reads):
        if (
            i >= n_reads and len(versions) > 1 and killed.is_set()
        ):  # writers may need as long to begin, and to be killed
            break
        try:
            found = set(storage.read_whole(folder, contents).values())
            if len(found) != 1:
                errors.append(f"mixed: {len(found)}")
            versions |= found
        except Exception as error:
            errors.append(f"{error!r} {error}")
    queue.put((len(versions), errors[:5]))


def contend(folder, n_reads, kill_every, least_kills):
    """Two writers that are killed and replaced all the time, beside two readers; what the readers saw."""
    fork = multiprocessing.get_context("fork")
    queue, killed = fork.Queue(), fork.Event()
    readers = [fork.Process(target=read_for_ever, args=(folder, queue, n_reads, killed)) for _ in range(2)]
    writers = [fork.Process(target=write_for_ever, args=(folder, i)) for i in range(2)]
    for process in (*readers, *writers):
        process.start()
    kills = 0
    while any(reader.is_alive() for reader in readers) and queue.empty():
        time.sleep(kill_every * (0.5 + (kills % 10) / 10))
        slot = kills % 2
        os.kill(writers[slot].pid, signal.SIGKILL)
        writers[slot].join()
        kills += 1
        if kills >= least_kills:
            killed.set()
        writers[slot] = fork.Process(target=write_for_ever, args=(folder, kills))
        writers[slot].start()
    found = [queue.get(timeout=300) for _ in readers]
    for process in (*writers, *readers):
        process.kill()
        process.join()
    return found, kills


def test_readers_see_whole_folders_while_writers_contend_and_are_killed(folder):
    found, kills = contend(folder, n_reads=1500, kill_every=0.02, least_kills=4)
    assert kills >= 4
    for n_versions, errors in found:
        assert errors == []
        assert n_versions > 1
    storage.replace_folder(folder, FIRST, OWN, ())
    assert contents(folder) == FIRST


@pytest.mark.wide
def test_a_hundred_thousand_reads_see_no_error_while_writers_are_killed(folder):
    found, kills = contend(folder, n_reads=50_000, kill_every=0.05, least_kills=50)
    assert kills >= 50
    assert [errors for _, errors in found] == [[], []]
