"""Rooms and votes, on SQLite and on PostgreSQL: the same tests."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.browser import free_port
from explorer.lessons import rooms
from explorer.lessons.rooms import DAY, FORGOTTEN, LETTERS, NotAllowed, Rooms

ROOT = Path(__file__).parent.parent


def postgres_programs():
    found = shutil.which("initdb") or next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)
    return found and Path(found).parent


@pytest.fixture(scope="session")
def cluster():
    """A PostgreSQL of our own, which refuses to run as root."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("no PostgreSQL is installed")
    folder, port, as_user = Path(tempfile.mkdtemp()), free_port(), {}  # pytest's folders are closed to other users
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def run(*command):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([str(part) for part in command], cwd=folder, check=True, **quiet, **as_user)

    run(programs / "initdb", "-D", folder / "data", "-U", "explorer", "-A", "trust", "--no-sync", "-E", "UTF8")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    run(programs / "pg_ctl", "-D", folder / "data", "-o", options, "-w", "start")
    yield f"postgresql+psycopg://explorer@127.0.0.1:{port}/postgres"
    run(programs / "pg_ctl", "-D", folder / "data", "-m", "immediate", "stop")
    shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, tmp_path):
    return f"sqlite:///{tmp_path}/rooms.sqlite" if request.param == "sqlite" else request.getfixturevalue("cluster")


@pytest.fixture
def there(where):
    return Rooms(where)


def test_a_room_goes_on_after_a_restart_and_with_another_machine_by_its_key(there, where):
    room, key = there.open("autoencoders.en", "lecturer")
    there.move(room.code, "lecturer", 3, "see")
    again = Rooms(where)
    assert (again.find(room.code.lower()).step, again.find(room.code).phase) == (3, "see")
    assert again.leads(room.code, "lecturer")
    assert not again.take_over(room.code, "WRONGKEYWRONGKEYWRON", "student")
    assert not again.leads(room.code, "student")
    assert again.take_over(room.code, key.lower(), "another machine")
    again.move(room.code, "another machine", 4, "predict")
    assert again.find(room.code).step == 4
    with pytest.raises(NotAllowed):
        again.move(room.code, "lecturer", 5, "predict")


def test_only_who_leads_can_reveal_go_on_or_close(there):
    room, _ = there.open("autoencoders.en", "lecturer")
    for act in (lambda: there.move(room.code, "student", 0, "see"), lambda: there.close(room.code, "student")):
        with pytest.raises(NotAllowed):
            act()
    assert there.find(room.code) == room


def test_one_phone_has_one_vote_and_may_change_it_while_it_is_asked(there):
    room, _ = there.open("autoencoders.en", "lecturer")
    code = room.code
    assert not there.vote(code, 0, "before", "stranger", 1)  # has not joined
    for phone in ("a", "b"):
        assert there.join(code, phone)
    assert there.n_phones(code) == 2
    assert there.vote(code, 0, "before", "a", 1)
    assert there.vote(code, 0, "before", "a", 2)
    assert there.vote(code, 0, "before", "b", [0.5, -1])
    assert there.own_vote(code, 0, "before", "a") == 2
    assert sorted(map(str, there.votes(code, 0, "before"))) == ["2", "[0.5, -1]"]
    assert not there.vote(code, 0, "after", "a", 1)
    assert not there.vote(code, 1, "before", "a", 1)
    assert not there.vote(code, 0, "never", "a", 1)
    assert not there.vote(code, 0, "before", "a", "x" * 1000)
    there.move(code, "lecturer", 0, "see")
    assert not there.vote(code, 0, "before", "a", 3)
    assert there.vote(code, 0, "after", "a", 3)
    there.close(code, "lecturer")
    assert not there.vote(code, 0, "after", "b", 3)
    assert there.votes(code, 0, "after") == [3]


def test_a_hundred_phones_at_once_are_all_counted_and_none_twice(there):
    code = there.open("autoencoders.en", "lecturer")[0].code

    def take_part(i):
        return there.join(code, f"phone {i}") and all(there.vote(code, 0, "before", f"phone {i}", i) for _ in range(2))

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(take_part, range(100)))
    assert sorted(there.votes(code, 0, "before")) == list(range(100))


def test_votes_of_a_closed_room_are_gone_after_a_day_and_a_forgotten_room_is_closed(there):
    first, second = (there.open("autoencoders.en", "lecturer", now=0)[0].code for _ in range(2))
    for code in (first, second):
        there.join(code, "a")
        there.vote(code, 0, "before", "a", 1)
    there.close(first, "lecturer", now=100)
    there.sweep(now=DAY)
    assert there.votes(first, 0, "before") == [1]
    there.sweep(now=DAY + 101)
    assert there.find(first) is None
    assert there.votes(first, 0, "before") == []
    assert there.n_phones(first) == 0
    assert there.votes(second, 0, "before") == [1]
    there.sweep(now=FORGOTTEN + 1)
    assert not there.find(second).is_open


@pytest.mark.parametrize("code", ["", "ABC", "ABCDEFG", "' OR 1", "ÄBCDEF", "ABCDE\0", "A" * 10**6])
def test_what_can_be_no_code_finds_no_room(there, code):
    assert there.find(code) is None
    assert not there.vote(code[:500], 0, "before", "a", 1)


def test_a_room_takes_no_more_phones_than_it_holds(there, monkeypatch):
    monkeypatch.setattr(rooms, "MOST_PHONES", 2)
    code = there.open("autoencoders.en", "lecturer")[0].code
    assert [there.join(code, phone) for phone in "abca"] == [True, True, False, True]


WRITER = """
import sys
from explorer.lessons.rooms import Rooms
there = Rooms(sys.argv[1])
code = there.open("autoencoders.en", "lecturer")[0].code
print(code, flush=True)
for i in range(100_000):
    there.join(code, f"p{i}") and there.vote(code, 0, "before", f"p{i}", i)
    print(i, flush=True)
"""


def test_what_was_counted_is_there_after_a_kill_in_the_middle_of_voting(where):
    with subprocess.Popen([sys.executable, "-c", WRITER, where], cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        code = writer.stdout.readline().strip()
        counted = []
        enough = threading.Event()

        def listen():
            for line in writer.stdout:
                counted.append(int(line))
                if len(counted) > 20:
                    enough.set()

        listener = threading.Thread(target=listen)
        listener.start()
        assert enough.wait(60)
        writer.kill()
        listener.join()
    assert set(counted) <= set(Rooms(where).votes(code, 0, "before"))


def test_guesses_of_an_address_are_slowed_down_and_others_are_not():
    guesses = rooms.Guesses()
    assert guesses.wait("hall", 0) == 0
    for i in range(30):
        guesses.was_wrong("hall", i / 10)
    assert guesses.wait("hall", 3) == rooms.LONGEST_WAIT
    assert guesses.wait("elsewhere", 3) == 0
    assert guesses.wait("hall", 100) == 0
    assert len(LETTERS) ** rooms.CODE_LENGTH > 8e8


def test_the_database_is_in_the_folder_of_states_unless_it_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("EXPLORER_DATABASE", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert rooms.address() == f"sqlite:///{tmp_path.as_posix()}/latent-space-explorer/rooms.sqlite"
    monkeypatch.setenv("EXPLORER_DATABASE", "postgresql+psycopg://u@h/d")
    assert rooms.address() == "postgresql+psycopg://u@h/d"
