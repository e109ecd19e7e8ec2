"""Rooms: which step a class is at, and its votes, in a database; SQLite by itself, PostgreSQL for several replicas.

    EXPLORER_DATABASE    an address as SQLAlchemy knows it: postgresql+psycopg://user:word@host/name, or
                         sqlite:////folder/file; unset, a file `rooms.sqlite` in the user's folder of states

A room has a code, which everybody in it sees, and a key, which only who opened it does; of the key a hash is stored. A
browser, phone or not, is known by a number that nobody can turn back: see `number_of`. One number has one vote in each
round of a step, so that a second one replaces the first. Nobody is named.
"""

import hashlib
import json
import os
import secrets
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

LETTERS = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"  # none that are taken for one another
CODE_LENGTH = 6  # 8.9e8 codes
PHASES = ("predict", "see", "explain")
ROUNDS = ("before", "after")
DAY = 24 * 3600.0
FORGOTTEN = 7 * DAY  # after which a room that nobody closed is closed
MOST_PHONES = 2000  # in a room
LONGEST_VOTE = 400  # characters
MOST_GUESSES, WINDOW, LONGEST_WAIT = 5, 60.0, 2.0  # wrong codes that cost nothing, seconds they count, most to wait

_tables = sa.MetaData()
_rooms = sa.Table(
    "rooms", _tables,
    sa.Column("code", sa.String(CODE_LENGTH), primary_key=True),
    sa.Column("lesson", sa.String(100), nullable=False),
    sa.Column("key_hash", sa.String(64), nullable=False),
    sa.Column("leader", sa.String(64), nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("phase", sa.String(10), nullable=False),
    sa.Column("opened", sa.Float, nullable=False),
    sa.Column("closed", sa.Float),
)  # fmt: skip
_phones = sa.Table(
    "phones", _tables,
    sa.Column("code", sa.String(CODE_LENGTH), primary_key=True),
    sa.Column("phone", sa.String(64), primary_key=True),
)  # fmt: skip
_votes = sa.Table(
    "votes", _tables,
    sa.Column("code", sa.String(CODE_LENGTH), primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("round", sa.String(10), primary_key=True),
    sa.Column("phone", sa.String(64), primary_key=True),
    sa.Column("value", sa.String(LONGEST_VOTE), nullable=False),
)  # fmt: skip


class NotAllowed(PermissionError):
    """Only who leads a room may do this."""


@dataclass(frozen=True)
class Room:
    """A room as it was when it was read. step: from 0. phase: one of `PHASES`."""

    code: str
    lesson: str
    step: int
    phase: str
    is_open: bool


def address() -> str:
    """Name the database: the variable EXPLORER_DATABASE, else a file in the user's folder of states."""
    if given := os.environ.get("EXPLORER_DATABASE"):
        return given
    home = os.environ.get("XDG_STATE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".local" / "state"
    return f"sqlite:///{(Path(home) / 'latent-space-explorer' / 'rooms.sqlite').as_posix()}"


def number_of(secret: str) -> str:
    """Give the number by which a browser is known: a hash of something that only this browser holds."""
    return hashlib.sha256(f"room {secret}".encode()).hexdigest()


class Rooms:
    """All rooms of a database. Raises `sqlalchemy.exc.SQLAlchemyError` where it cannot be reached."""

    def __init__(self, where: str | None = None) -> None:
        url = sa.make_url(where or address())
        self.is_sqlite = url.get_backend_name() == "sqlite"
        if self.is_sqlite and url.database:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        self.engine = sa.create_engine(url, pool_pre_ping=not self.is_sqlite)
        if self.is_sqlite:
            sa.event.listen(self.engine, "connect", _settle_sqlite)
        with self._writing() as connection:
            if not self.is_sqlite:  # two replicas that start at once would make the tables twice
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(771801)"))
            _tables.create_all(connection)

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with self.engine.connect() as connection:
            if self.is_sqlite:  # or two that read first and write then would refuse one another
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()

    def open(self, lesson: str, leader: str, now: float | None = None) -> tuple[Room, str]:
        """Open a room, led by this browser, and give it with its key."""
        now = time.time() if now is None else now
        self.sweep(now)
        key = "".join(secrets.choice(LETTERS) for _ in range(20))
        with self._writing() as connection:
            taken = True
            while taken:
                code = "".join(secrets.choice(LETTERS) for _ in range(CODE_LENGTH))
                taken = connection.execute(sa.select(_rooms.c.code).where(_rooms.c.code == code)).first()
            row = {"code": code, "lesson": lesson, "key_hash": _hash(key), "leader": leader}
            connection.execute(_rooms.insert().values(**row, step=0, phase=PHASES[0], opened=now))
        return Room(code, lesson, 0, PHASES[0], True), key

    def find(self, code: str) -> Room | None:
        """Give a room by its code, in capitals or not, or None."""
        code = tidied(code)
        if not code:
            return None
        with self.engine.connect() as connection:
            row = connection.execute(sa.select(_rooms).where(_rooms.c.code == code)).mappings().first()
        return row and Room(row["code"], row["lesson"], row["step"], row["phase"], row["closed"] is None)

    def leads(self, code: str, browser: str) -> bool:
        """Say whether a browser leads a room."""
        with self.engine.connect() as connection:
            mine = sa.select(_rooms.c.code).where(_rooms.c.code == code, _rooms.c.leader == browser)
            return connection.execute(mine).first() is not None

    def take_over(self, code: str, key: str, browser: str) -> bool:
        """Let a browser lead a room from now on, where the key is the room's; say whether it is."""
        code, key = tidied(code), key.strip().upper().replace("-", "")
        with self._writing() as connection:
            given = sa.update(_rooms).where(_rooms.c.code == code, _rooms.c.key_hash == _hash(key))
            return connection.execute(given.values(leader=browser)).rowcount == 1

    def move(self, code: str, browser: str, step: int, phase: str) -> None:
        """Go to a step and phase; raises `NotAllowed` for a browser that does not lead."""
        if phase not in PHASES or step < 0:
            raise ValueError(f"there is no phase {phase!r} of a step {step}")
        self._lead(code, browser, step=step, phase=phase)

    def close(self, code: str, browser: str, now: float | None = None) -> None:
        """Close a room; raises `NotAllowed` for a browser that does not lead."""
        self._lead(code, browser, closed=time.time() if now is None else now)

    def _lead(self, code: str, browser: str, **values: Any) -> None:
        with self._writing() as connection:
            mine = (_rooms.c.code == code, _rooms.c.leader == browser, _rooms.c.closed.is_(None))
            if connection.execute(sa.update(_rooms).where(*mine).values(**values)).rowcount != 1:
                raise NotAllowed(f"this browser does not lead the room {code}, or it is closed")

    def join(self, code: str, phone: str) -> bool:
        """Count a phone as one of the room; say whether there is room for it."""
        with self._writing() as connection:
            there = sa.select(sa.func.count()).select_from(_phones).where(_phones.c.code == code)
            known = sa.select(_phones.c.phone).where(_phones.c.code == code, _phones.c.phone == phone)
            if connection.execute(known).first():
                return True
            if connection.execute(there).scalar_one() >= MOST_PHONES:
                return False
            insert = self._insert(_phones).values(code=code, phone=phone)
            connection.execute(insert.on_conflict_do_nothing())
            return True

    def n_phones(self, code: str) -> int:
        """Count the phones of a room."""
        with self.engine.connect() as connection:
            there = sa.select(sa.func.count()).select_from(_phones).where(_phones.c.code == code)
            return connection.execute(there).scalar_one()

    def vote(self, code: str, step: int, which: str, phone: str, value: Any) -> bool:
        """Count a vote, instead of an earlier one of the same phone; say whether it counts.

        It does while the room is open and at this step, before what is to be seen in the round "before" and while it
        is seen in the round "after", for a phone that has joined.
        """
        code, text = tidied(code), json.dumps(value, allow_nan=False)
        if not code or which not in ROUNDS or len(text) > LONGEST_VOTE:
            return False
        phase = PHASES[ROUNDS.index(which)]
        with self._writing() as connection:
            now = (_rooms.c.code == code, _rooms.c.step == step, _rooms.c.phase == phase, _rooms.c.closed.is_(None))
            joined = sa.select(_phones.c.phone).where(_phones.c.code == code, _phones.c.phone == phone)
            if not connection.execute(sa.select(_rooms.c.code).where(*now)).first():
                return False
            if not connection.execute(joined).first():
                return False
            insert = self._insert(_votes).values(code=code, step=step, round=which, phone=phone, value=text)
            keys = [column.name for column in _votes.primary_key]
            connection.execute(insert.on_conflict_do_update(index_elements=keys, set_={"value": text}))
        return True

    def votes(self, code: str, step: int, which: str) -> list[Any]:
        """List what was voted in a round of a step, in no order that tells who."""
        at = (_votes.c.code == code, _votes.c.step == step, _votes.c.round == which)
        with self.engine.connect() as connection:
            found = connection.execute(sa.select(_votes.c.value).where(*at).order_by(_votes.c.value)).scalars().all()
        return [json.loads(text) for text in found]

    def own_vote(self, code: str, step: int, which: str, phone: str) -> Any:
        """Give what a phone voted, or None."""
        at = (_votes.c.code == code, _votes.c.step == step, _votes.c.round == which, _votes.c.phone == phone)
        with self.engine.connect() as connection:
            found = connection.execute(sa.select(_votes.c.value).where(*at)).scalar()
        return None if found is None else json.loads(found)

    def sweep(self, now: float | None = None) -> None:
        """Forget rooms that were closed a day ago, with their votes; close those that were left open for a week."""
        now = time.time() if now is None else now
        with self._writing() as connection:
            left = (_rooms.c.closed.is_(None), _rooms.c.opened < now - FORGOTTEN)
            connection.execute(sa.update(_rooms).where(*left).values(closed=now))
            gone = sa.select(_rooms.c.code).where(_rooms.c.closed < now - DAY)
            for table in (_votes, _phones, _rooms):
                connection.execute(sa.delete(table).where(table.c.code.in_(gone)))

    def _insert(self, table: sa.Table) -> Any:
        return (sqlite if self.is_sqlite else postgresql).insert(table)


def _settle_sqlite(connection: Any, _record: Any) -> None:
    """Set a new connection: readers beside a writer, and what is counted is on the disk, what is deleted is not."""
    connection.isolation_level = None  # the transactions are ours
    for setting in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "secure_delete=ON"):
        connection.execute(f"PRAGMA {setting}")


def _hash(key: str) -> str:
    return hashlib.sha256(f"key {key}".encode()).hexdigest()


def tidied(code: str) -> str:
    """Write a code as it is stored, or give an empty string for what can be none."""
    code = code.strip().upper()
    return code if len(code) == CODE_LENGTH and set(code) <= set(LETTERS) else ""


class Guesses:
    """How long one address has to wait for an answer about a code, right or wrong, after so many wrong ones.

    Right codes wait as long as wrong ones, or a clock would tell them apart; who is in a room already never asks.
    """

    def __init__(self) -> None:
        self._wrong: dict[str, deque[float]] = defaultdict(deque)
        self._lock = threading.Lock()

    def wait(self, who: str, now: float) -> float:
        """Give the seconds to wait."""
        with self._lock:
            self._forget(now)
            return min(LONGEST_WAIT, 0.2 * max(0, len(self._wrong.get(who, ())) - MOST_GUESSES + 1))

    def was_wrong(self, who: str, now: float) -> None:
        """Remember a wrong code."""
        with self._lock:
            self._wrong[who].append(now)
            if len(self._wrong[who]) > 1000:
                self._wrong[who].popleft()

    def _forget(self, now: float) -> None:
        for who, times in list(self._wrong.items()):
            while times and times[0] < now - WINDOW:
                times.popleft()
            if not times:
                del self._wrong[who]
