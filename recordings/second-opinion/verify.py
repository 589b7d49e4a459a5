#!/usr/bin/env python3
"""A second verifier for Holdpoint's store, written from docs/FORMAT.md and docs/EVENTS.md alone.

    python3 verify.py FOLDER --trust trust.toml [--identity AGE-IDENTITY-FILE] [--json]

It shares no code with Holdpoint, so that a mistake in one of the two verifiers is seen by the other. It needs Python
3.11 and the packages `cryptography` and `zstandard`. The exit code is 0 where everything is whole, 4 where nothing is
wrong but nobody can say that this is all, 1 where something is wrong, 2 for wrong use, 3 where it could not look.

Sections named in comments are those of docs/FORMAT.md, unless another document is named.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import hmac
import json
import re
import struct
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import zstandard
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ZEROS = bytes(32)


# ---------------------------------------------------------------------------------------------------------------------
# What is found out


class Wrong(Exception):
    """Something that is not as it was written: which file, from which byte on (if that can be said), and what."""

    def __init__(self, file: str, at: int | None, what: str):
        super().__init__(what)
        self.file, self.at, self.what = file, at, what

    def __str__(self) -> str:
        return f"{self.what} ({self.file}{'' if self.at is None else f', byte {self.at}'})"


class Misused(Exception):
    """Wrong use: arguments or files of the auditor's own that cannot be understood."""


@dataclass
class Report:
    """What was found out, in the order in which it was."""

    wrong: list[Wrong] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    part: list[str] | None = None
    restored: list[str] = field(default_factory=list)
    not_witnessed: list[str] = field(default_factory=list)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """What is wrong inside is noted, and the looking goes on behind."""
        try:
            yield
        except Wrong as wrong:
            self.wrong.append(wrong)

    def verdict(self) -> str:
        """The words of `holdpoint verify`: docs/auditor.md, "Is it whole?"."""
        if self.wrong:
            return "not-whole"
        if self.part is not None:
            return "part"
        if self.open:
            return "open"
        if self.restored:
            return "restored"
        return "not-witnessed" if self.not_witnessed else "whole"


EXIT_CODES = {"whole": 0, "open": 4, "part": 4, "restored": 4, "not-witnessed": 4, "not-whole": 1}


# ---------------------------------------------------------------------------------------------------------------------
# Numbers, hashes, keys


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def hkdf(secret: bytes, info: bytes, salt: bytes = b"") -> bytes:
    """RFC 5869 with SHA-256 and 32 bytes of output."""
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=info).derive(secret)


def _crc32c_tables() -> list[int]:
    single = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        single.append(value)
    once = [single[value & 255] ^ (value >> 8) for value in range(65536)]
    return [single[value & 255] ^ (value >> 8) for value in once]


_CRC32C = _crc32c_tables()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), two bytes at a time."""
    crc = 0xFFFFFFFF
    even = len(data) & ~1
    for (word,) in struct.iter_unpack("<H", data[:even]):
        crc = (crc >> 16) ^ _CRC32C[(crc ^ word) & 0xFFFF]
    if even != len(data):
        crc = (crc ^ data[-1]) & 0xFFFFFFFF
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def strict_base64(text: str) -> bytes:
    """Base64 in its one spelling: padded, without stray bits, blanks or other letters."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("base64 with more than one spelling")
    return data


class Cursor:
    """Reads what FORMAT.md calls numbers, texts, times and positions, one after the other."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise ValueError("it is too short")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def text(self) -> str:
        return self.take(self.number(4)).decode()

    def time(self) -> Time:
        seconds, nanoseconds = struct.unpack("<qi", self.take(12))
        if abs(nanoseconds) >= 1_000_000_000 or seconds * nanoseconds < 0:
            raise ValueError("it holds no time")
        return Time(seconds * 1_000_000_000 + nanoseconds)

    def position(self) -> Position:
        return Position(self.number(8), self.number(8), self.take(32))

    def leb128(self) -> int:
        """LEB128 in its shortest form ("Blocks")."""
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if (byte == 0 and shift > 7) or value >= 1 << 64:
            raise ValueError("a number is not in its shortest form")
        return value

    def end(self) -> None:
        if self.at != len(self.data):
            raise ValueError("bytes are left over")


def instant(text: str) -> int:
    """Nanoseconds since 1970 of a time as events have it."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(whole + "+00:00").timestamp()) * 1_000_000_000 + int(fraction.ljust(9, "0"))


class Time(int):
    """Nanoseconds since 1970."""

    def __str__(self) -> str:
        seconds, nanoseconds = divmod(self, 1_000_000_000)
        shown = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{shown}.{nanoseconds:09}Z"


@dataclass(frozen=True)
class Position:
    """A place in a log: segment, offset and the link of the frame before."""

    segment: int
    offset: int
    link: bytes


class LogKey:
    """A verifier key as C2SP's signed notes write it: `name+hex(id)+base64(type ‖ key)`."""

    def __init__(self, text: str):
        try:
            self.text = text
            self.origin, key_id, key = text.split("+", 2)
            raw = strict_base64(key)
            self.id = sha256(self.origin.encode(), b"\n", raw)[:4]
            if raw[0] != 1 or len(raw) != 33 or self.id.hex() != key_id:
                raise ValueError("it is no Ed25519 key of that name")
            self.key = Ed25519PublicKey.from_public_bytes(raw[1:])
        except (ValueError, binascii.Error) as error:
            raise Misused(f"{text!r} is no verifier key: {error}") from error

    def renamed(self, origin: str) -> LogKey:
        """The same key under another name."""
        raw = b"\1" + self.key.public_bytes_raw()
        key_id = sha256(origin.encode(), b"\n", raw)[:4]
        return LogKey(f"{origin}+{key_id.hex()}+{base64.b64encode(raw).decode()}")

    def signed(self, signature: bytes, message: bytes) -> bool:
        try:
            self.key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


class Witness:
    """A witness's key (C2SP tlog-cosignature, Ed25519): `name+hex(id)+base64(4 ‖ key)`."""

    def __init__(self, text: str):
        try:
            self.name, key_id, key = text.split("+", 2)
            raw = strict_base64(key)
            self.id = sha256(self.name.encode(), b"\n", raw)[:4]
            if raw[0] != 4 or len(raw) != 33 or self.id.hex() != key_id:
                raise ValueError("it is no Ed25519 key of that name")
            self.key = Ed25519PublicKey.from_public_bytes(raw[1:])
        except (ValueError, binascii.Error) as error:
            raise Misused(f"{text!r} is no witness's key: {error}") from error

    def cosigned(self, text: str) -> bool:
        """Whether the witness has a line below this note, which must then be right."""
        body, _, signatures = text.rpartition("\n\n")
        lines = [line.split(" ") for line in signatures[:-1].split("\n")]
        found = [strict_base64(encoded) for _, name, encoded in lines if name == self.name]
        for raw in (raw for raw in found if raw[:4] == self.id):
            message = f"cosignature/v1\ntime {int.from_bytes(raw[4:12], 'big')}\n{body}\n"
            try:
                self.key.verify(raw[12:], message.encode())
            except InvalidSignature as error:
                raise ValueError(f"the line of {self.name} is wrong") from error
            return True
        return False


@dataclass
class Trust:
    """The auditor's `trust.toml`: the keys of the logs and of witnesses, and the fingerprints of the first people."""

    deployment: str
    logs: dict[str, LogKey]
    people: dict[str, tuple[str, set[str]]]
    witnesses: list[Witness]
    needed: int

    @classmethod
    def read(cls, path: Path) -> Trust:
        try:
            table = tomllib.loads(path.read_text())
            logs = {key.origin: key for key in map(LogKey, table["logs"])}
            people = {one["person"]: (one["role"], set(one["keys"])) for one in table.get("people", [])}
            witnesses = [Witness(text) for text in table.get("witnesses", [])]
            needed = table.get("witnesses_needed", len(witnesses))
            return cls(table["deployment"], logs, people, witnesses, needed)
        except (KeyError, TypeError, ValueError) as error:
            raise Misused(f"{path}: {error}") from error


# ---------------------------------------------------------------------------------------------------------------------
# Trees (RFC 6962, section 2.1) and what is published of them ("What is published")


def leaf_hash(entry: bytes) -> bytes:
    return sha256(b"\0", entry)


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1", left, right)


class Tree:
    """A tree that grows leaf by leaf. Hashes of all full subtrees are kept, since tiles consist of them."""

    def __init__(self) -> None:
        self.levels: list[list[bytes]] = [[]]

    @property
    def size(self) -> int:
        return len(self.levels[0])

    def push(self, leaf: bytes) -> None:
        level = 0
        self.levels[0].append(leaf)
        while len(self.levels[level]) % 2 == 0:
            left, right = self.levels[level][-2:]
            level += 1
            if level == len(self.levels):
                self.levels.append([])
            self.levels[level].append(node_hash(left, right))

    def roots(self, size: int) -> list[bytes]:
        """The roots of the full subtrees of the first `size` leaves, largest first."""
        return [self.levels[n][(size >> n) - 1] for n in reversed(range(size.bit_length())) if size >> n & 1]

    def root(self, size: int) -> bytes:
        roots = self.roots(size)
        if not roots:
            return sha256(b"")
        root = roots.pop()
        while roots:
            root = node_hash(roots.pop(), root)
        return root


def parse_note(text: str, key: LogKey) -> tuple[str, int, bytes]:
    """Origin, size and root of a checkpoint (C2SP tlog-checkpoint) whose note (C2SP signed-note) this key signed."""
    body, blank, signatures = text.rpartition("\n\n")
    if not blank or not signatures.endswith("\n"):
        raise ValueError("it is no signed note")
    body += "\n"
    if any(ord(letter) < 0x20 and letter != "\n" for letter in text):
        raise ValueError("a note has no control characters")
    ours = 0
    for line in signatures[:-1].split("\n"):
        dash, name, encoded = line.split(" ")
        raw = strict_base64(encoded)
        if dash != "—" or not name or "+" in name or len(raw) < 5:
            raise ValueError("a line is no signature")
        if (name, raw[:4]) == (key.origin, key.id):
            ours += 1
            if not key.signed(raw[4:], body.encode()):
                raise ValueError("the log's signature is wrong")
    if ours != 1:
        raise ValueError("the log did not sign it")
    origin, size, root, end = body.split("\n")
    if end or not re.fullmatch("0|[1-9][0-9]*", size):
        raise ValueError("it is no checkpoint")
    return origin, int(size), strict_base64(root)


TILE_PATH = re.compile(r"tile/(entries|0|[1-9][0-9]*)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]*))?")


def check_published(log: Log, report: Report) -> None:
    """`checkpoint` and `tile/…` against the tree of the log's entries."""
    name = f"{log.name}/checkpoint"
    if not log.store.has(name) and log.ending == OPEN:
        return
    data = log.store.bytes(name)
    try:
        origin, size, root = parse_note(data.decode(), log.key)
    except (ValueError, binascii.Error) as error:
        raise Wrong(name, 0, f"the checkpoint cannot be believed: {error}") from error
    if origin != log.key.origin:
        raise Wrong(name, 0, "the checkpoint is another log's")
    if size > log.tree.size:
        raise Wrong(name, 0, f"{size} entries were published, and the log has {log.tree.size}")
    if root != log.tree.root(size):
        raise Wrong(name, 0, "the published root is not that of the entries")
    if size < log.tree.size and log.ending == STOPPED:
        raise Wrong(name, 0, f"the log was stopped with {log.tree.size} entries, and {size} are published")
    files = [path for path in log.store.files(log.name) if path.startswith(f"{log.name}/tile/")]
    for path in files:
        with report.looking():
            if not (path.endswith(".tmp") and TILE_PATH.fullmatch(path[len(log.name) + 1 : -4])):
                check_tile(log, path)
    for path in tiles_of(size):
        if log.ending != OPEN and f"{log.name}/{path}" not in files:
            raise Wrong(f"{log.name}/{path}", None, "a published tile is missing")


def read_bundles(log: Log, count: int) -> Iterator[tuple[str, int, bytes]]:
    """The first entries of a log from its bundles: each with the file and byte where it stands."""
    name = f"{log.name}/checkpoint"
    try:
        _, size, _ = parse_note(log.store.bytes(name).decode(), log.key)
    except (ValueError, binascii.Error) as error:
        raise Wrong(name, 0, f"the checkpoint cannot be believed: {error}") from error
    if size < count:
        raise Wrong(name, 0, f"{size} entries were published, and segments with {count} were retired")
    for index in range(-(-count // 256)):
        path = f"{log.name}/{tile_name('entries', index, min(256, size - 256 * index))}"
        data, at = log.store.bytes(path), 0
        for _ in range(min(256, count - 256 * index)):
            length = int.from_bytes(data[at : at + 2], "big")
            entry = data[at + 2 : at + 2 + length]
            if len(data) < at + 2 or len(entry) < length:
                raise Wrong(path, at, "the bundle is too short")
            yield path, at, entry
            at += 2 + length


def check_cosigned(log: Log, trust: Trust, report: Report) -> None:
    """`checkpoints/<size>`: heads that the log had and signed, and lines of witnesses who are trusted."""
    check_heads(log, "checkpoints", log.key, report, lambda path, size, is_here: is_here or log_lacks(path))
    seen = set()
    for path in log.store.files(log.name):
        if not re.fullmatch(f"{log.name}/checkpoints/[0-9]+", path):
            continue
        with report.looking():
            try:
                text = log.store.bytes(path).decode()
                seen |= {witness.name for witness in trust.witnesses if witness.cosigned(text)}
            except (ValueError, binascii.Error) as error:
                raise Wrong(path, 0, f"a cosigned checkpoint cannot be believed: {error}") from error
    if report.part is None and log.tree.size and len(seen) < trust.needed:
        report.not_witnessed.append(log.key.origin)


def log_lacks(path: str) -> None:
    raise Wrong(path, 0, "a witness cosigned another head than the log has")


def check_heads(log: Log, folder: str, key: LogKey, report: Report, judge: Callable[[str, int, bool], object]) -> None:
    """Signed heads in a folder of a log's, under the name that `key` has: whether the log that is here had each."""
    folder = f"{log.name}/{folder}/"
    for path in log.store.files(log.name):
        if not path.startswith(folder):
            continue
        with report.looking():
            name = path.removeprefix(folder)
            is_published = name == "checkpoint" and "/before-" in folder
            if not is_published and not re.fullmatch(r"(0|[1-9][0-9]*)(\.tmp)?", name):
                raise Wrong(path, 0, "no gate puts this there")
            if name.endswith(".tmp"):
                continue
            try:
                origin, size, root = parse_note(log.store.bytes(path).decode(), key)
            except (ValueError, binascii.Error) as error:
                raise Wrong(path, 0, f"the checkpoint cannot be believed: {error}") from error
            if origin != key.origin or (not is_published and size != int(name)):
                raise Wrong(path, 0, "it is another head than its name says")
            judge(path, size, size <= log.tree.size and root == log.tree.root(size))


def tile_name(level: int | str, index: int, width: int) -> str:
    """The path of a tile (C2SP tlog-tiles)."""
    groups = []
    while True:
        groups.append(f"{index % 1000:03}")
        index //= 1000
        if not index:
            break
    number = "/".join([*(f"x{group}" for group in reversed(groups[1:])), groups[0]])
    return f"tile/{level}/{number}" + ("" if width == 256 else f".p/{width}")


def tiles_of(size: int) -> Iterator[str]:
    """All tiles and bundles that belong to a checkpoint of this size."""
    level, count = 0, size
    while count:
        for index in range(-(-count // 256)):
            width = min(256, count - 256 * index)
            yield tile_name(level, index, width)
            if level == 0:
                yield tile_name("entries", index, width)
        level, count = level + 1, count // 256


def check_tile(log: Log, path: str) -> None:
    """One tile or bundle, which may be of any size that the log ever had."""
    matched = TILE_PATH.fullmatch(path.removeprefix(f"{log.name}/"))
    if not matched:
        raise Wrong(path, None, "this is no name of a tile")
    level, width = matched[1], int(matched[3] or 256)
    index = int(matched[2].replace("x", "").replace("/", ""))
    start, end = 256 * index, 256 * index + width
    if path != f"{log.name}/{tile_name(level, index, width)}" or width > 256:
        raise Wrong(path, None, "this is no name of a tile")
    step = 0 if level == "entries" else 8 * int(level)
    if step >= len(log.tree.levels) or end > len(log.tree.levels[step]):
        raise Wrong(path, None, "it holds more entries than the log")
    if level == "entries":
        wanted = b"".join(len(one).to_bytes(2, "big") + one for one in (e.data for e in log.entries[start:end]))
    else:
        wanted = b"".join(log.tree.levels[step][start:end])
    log.store.equals(path, wanted, "it is not what the log's entries make it")


# ---------------------------------------------------------------------------------------------------------------------
# The folder


class Store:
    """The folder that is checked; names in it are relative, with slashes."""

    def __init__(self, folder: Path):
        self.folder = folder

    def has(self, name: str) -> bool:
        return (self.folder / name).exists()

    def check_names(self, folder: str, known: str) -> None:
        """Nothing lies in a folder but what a gate puts there."""
        for path in sorted((self.folder / folder).iterdir()):
            if not re.fullmatch(known, path.name):
                raise Wrong(path.relative_to(self.folder).as_posix(), None, "no gate puts this there")

    def bytes(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise Wrong(name, None, "it is missing") from error

    def files(self, name: str) -> list[str]:
        """All files below a folder."""
        paths = (path for path in (self.folder / name).rglob("*") if not path.is_dir())
        return sorted(path.relative_to(self.folder).as_posix() for path in paths)

    def equals(self, name: str, wanted: bytes, what: str) -> None:
        found = self.bytes(name)
        if found != wanted:
            at = next((n for n, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), None)
            raise Wrong(name, min(len(found), len(wanted)) if at is None else at, what)


# ---------------------------------------------------------------------------------------------------------------------
# Frames and segments ("Frames")

HEADER = 84
FRAME_MAX = 524_288
SEGMENT_HEAD, LEAF, ANCHOR, RECOVERED, DATA, FILE_ENTRY = 1, 2, 3, 4, 16, 44
ENCRYPTED = 0x80
SESSION_IN_HEAD = 8 + 16 + 8 + 32 + 8 + 4 + 32 + 1


@dataclass(slots=True)
class Frame:
    """One whole frame: its header of 84 bytes, and what it holds."""

    file: str
    at: int
    header: bytes
    body: bytes
    batch: int
    kind: int
    stream: int
    flags: int
    session: int
    sequence: int
    nanoseconds: int
    channel: int
    block: int
    begins: Position = Position(0, 0, ZEROS)

    @property
    def end(self) -> int:
        return self.at + HEADER + len(self.body)

    @property
    def identity(self) -> bytes:
        return self.header[48:]

    @property
    def is_encrypted(self) -> bool:
        return bool(self.stream & ENCRYPTED)

    @property
    def link(self) -> bytes:
        return sha256(b"\0", self.header, self.body[-16:] if self.is_encrypted else self.body)

    @property
    def mark(self) -> bytes:
        return sha256(b"\3", self.identity, self.body[-16:])

    def wrong(self, what: str) -> Wrong:
        return Wrong(self.file, self.at, what)


def frame_at(file: str, data: bytes, at: int) -> Frame | None:
    """The frame that begins here; none where it is not whole."""
    if data[at : at + 4] != b"HPf1" or len(data) < at + HEADER:
        return None
    crc, length, batch = struct.unpack_from("<III", data, at + 4)
    if length > FRAME_MAX or len(data) < at + HEADER + length:
        return None
    if crc32c(data[at + 8 : at + HEADER + length]) != crc:
        return None
    version, kind, stream, flags, session, sequence, nanoseconds, channel, block = struct.unpack_from(
        "<BBBBQQQII", data, at + 48
    )
    frame = Frame(
        file,
        at,
        data[at : at + HEADER],
        data[at + HEADER : at + HEADER + length],
        batch,
        kind,
        stream,
        flags,
        session,
        sequence,
        nanoseconds,
        channel,
        block,
    )
    if version != 1 or kind not in (1, 2, 3, 4, 16, *range(32, 51)) or flags > 1:
        raise frame.wrong("a frame of a kind that FORMAT.md does not know")
    if frame.is_encrypted != (kind >= DATA) or (frame.is_encrypted and length < 16):
        raise frame.wrong("a frame that should be encrypted and is not, or the other way round")
    return frame


@dataclass(slots=True)
class Entry:
    """One entry of a log ("Entries"): in a frame, or in a bundle where its segment is retired."""

    index: int
    data: bytes
    hash: bytes
    time: Time
    what: bytes
    file: str
    at: int
    frame: Frame | None

    def wrong(self, what: str) -> Wrong:
        return Wrong(self.file, self.at, what)


@dataclass(slots=True)
class SegmentHead:
    """What the head of a segment says ("Segment head")."""

    number: int
    behind: Position
    size: int
    roots: list[bytes]
    last_hash: bytes
    last_time: Time
    first_kept: int
    sessions: list[bytes]

    @classmethod
    def read(cls, frame: Frame) -> SegmentHead:
        cursor = Cursor(frame.body)
        try:
            number = cursor.number(8)
            cursor.take(16)
            behind, size = cursor.position(), cursor.number(8)
            roots = [cursor.take(32) for _ in range(cursor.number(1))]
            last_hash, last_time, first_kept = cursor.take(32), cursor.time(), cursor.number(8)
            sessions = [cursor.take(SESSION_IN_HEAD) for _ in range(cursor.number(4))]
            cursor.end()
        except ValueError as error:
            raise frame.wrong(f"it cannot be read: {error}") from error
        return cls(number, behind, size, roots, last_hash, last_time, first_kept, sessions)


def read_session_in_head(data: bytes) -> tuple[int, int, bytes]:
    """Of a session in a head what only its frames say: number, next sequence, digest so far."""
    number, next_sequence, digest = struct.unpack_from("<Q16xQ32s", data)
    return number, next_sequence, digest


@dataclass(slots=True)
class Anchor:
    """A signed head of a log."""

    time: Time
    nanoseconds: int
    due: int
    frame: Frame | None


STOPPED, OPEN, CUT_OFF = "stopped", "open", "cut off"
LATE = 30 * 1_000_000_000
COPYING = 3_600 * 1_000_000_000


class Log:
    """One of the two logs: reads its segments from the first frame to the last, and checks each on the way."""

    def __init__(self, store: Store, name: str, trust: Trust, on_entry: Callable[[Log, Entry], None] | None = None):
        self.store, self.name = store, name
        self.on_entry = on_entry
        self.restored: list[tuple[str, int]] = []
        self.key, self.node = self._read_format(trust)
        self.names = self._names(trust)
        self.tree = Tree()
        self.entries: list[Entry] = []
        self.sessions: dict[int, Session] = {}
        self.decisions: list[Decision] = []
        self.runs: bool | None = None
        self.started: int | None = None
        self.run_from = 0
        self.first = 0
        self.retired: list[Position] = []
        self.ends: dict[int, Position] = {}
        self.anchors: list[Anchor] = []
        self.frames = 0
        self.position = Position(0, 0, ZEROS)
        self.sequence = 0
        self.batch = 0
        self.group: list[Frame] = []
        self.last_frame: Frame | None = None
        self.torn_at: tuple[str, int] | None = None

    def _read_format(self, trust: Trust) -> tuple[LogKey, str]:
        """The file `FORMAT` ("Folders")."""
        name = f"{self.name}/FORMAT"
        data = self.store.bytes(name)
        formats = {b"holdpoint log 1": 1, b"holdpoint log 2": 2}
        if data.split(b"\n")[0] not in formats:
            raise Wrong(name, 0, "this is a format that this verifier does not know")
        self.format = formats[data.split(b"\n")[0]]
        lines = data.decode(errors="replace").split("\n")
        if len(lines) < 5 or lines[-1]:
            raise Wrong(name, 0, "FORMAT has four lines, and one for each restore")
        _, origin, node, key, *restored = lines[:-1]
        for line in restored:
            told = re.fullmatch(r"restored (e_[0-9a-z]{26}) (0|[1-9][0-9]*)", line)
            if not told:
                raise Wrong(name, data.index(line.encode()), "this is no restore")
            self.restored.append((told[1], int(told[2])))
        wanted = f"{trust.deployment}/journal" if self.name == "journal" else f"{trust.deployment}/records/{node}"
        named = f"{wanted}/{self.restored[-1][0]}" if self.restored else wanted
        if origin != named or wanted not in trust.logs:
            raise Wrong(name, len(lines[0]) + 1, f"trust.toml knows no log {origin!r} in this place")
        trusted = trust.logs[wanted].renamed(named)
        if key != trusted.text:
            raise Wrong(name, data.index(b"\n", data.index(b"\n", 16) + 1) + 1, "this is not the key in trust.toml")
        if f"{trust.deployment}/records/{node}" not in trust.logs:
            raise Wrong(name, data.index(b"\n", 16) + 1, f"trust.toml knows no node {node!r}")
        return trusted, node

    def _names(self, trust: Trust) -> list[tuple[int, LogKey]]:
        """The log's names with its key, and from which entry on it has each ("Restored")."""
        base = f"{trust.deployment}/journal" if self.name == "journal" else f"{trust.deployment}/records/{self.node}"
        later = [(size, trust.logs[base].renamed(f"{base}/{restore}")) for restore, size in self.restored]
        return [(0, trust.logs[base]), *later]

    def key_at(self, entry: int) -> LogKey:
        """The key under the name that the log has at an entry."""
        return [key for begins, key in self.names if begins <= entry][-1]

    def keys_over(self, size: int) -> list[LogKey]:
        """The keys that may have signed a head of this size: at a restore, the one before and the one after."""
        ends = [begins for begins, _ in self.names[1:]] + [None]
        both = zip(self.names, ends, strict=True)
        return [key for (begins, key), end in both if begins <= size and (end is None or size <= end)]

    @property
    def ending(self) -> str:
        """How the log ends ("Where a log ends")."""
        if not self.anchors or not self.last_frame:
            return CUT_OFF
        last = self.anchors[-1]
        if last.due == 0:
            return STOPPED if last.frame is self.last_frame and not self.torn_at else CUT_OFF
        late = self.last_frame.nanoseconds - last.nanoseconds - last.due * 1_000_000_000
        return CUT_OFF if self.torn_at or self.group or late > LATE else OPEN

    def read(self) -> None:
        """All segments, in order; those behind the last that holds anything are spares, and zeros."""
        folder = f"{self.name}/segments"
        self.store.check_names(folder, r"[0-9]{8}\.(seg|tmp)")
        names = [name for name in self.store.files(folder) if name.endswith(".seg")]
        if not names:
            raise Wrong(folder, None, "there are no segments")
        first = self.first = int(names[0].removeprefix(f"{folder}/")[:8])
        if first:
            self._begin_behind_retired(first, names[0])
        is_over = False
        for number, name in enumerate(names, first):
            if name != f"{folder}/{number:08}.seg":
                raise Wrong(f"{folder}/{number:08}.seg", None, "a segment is missing")
            data = self.store.bytes(name)
            used = len(data.rstrip(b"\0"))
            if is_over and used:
                raise Wrong(name, next(n for n, byte in enumerate(data) if byte), "a spare segment is not zeros")
            is_over = is_over or not used
            if used:
                self._read_segment(number, name, data, used)
        for name in self.store.files(folder):
            if name.endswith(".tmp") and self.store.bytes(name).rstrip(b"\0"):
                raise Wrong(name, 0, "an unfinished segment is not zeros")
        if not self.anchors:
            raise Wrong(names[0], 0, "nothing in it was ever signed")
        if first > len(self.retired):
            raise Wrong(f"{folder}/{len(self.retired):08}.seg", None, "a segment is missing, and was not retired")
        if first and self.retired[first - 1] != self.ends[first - 1]:
            raise Wrong(names[0], 0, "the segment before ended elsewhere when it was retired")

    def _begin_behind_retired(self, first: int, name: str) -> None:
        """Takes the entries of retired segments from the bundles, and the rest from the first head ("Retired")."""
        head = frame_at(name, self.store.bytes(name), 0)
        if not head or head.kind != SEGMENT_HEAD:
            raise Wrong(name, 0, "the segment does not begin with a whole frame")
        told = SegmentHead.read(head)
        for path, at, data in read_bundles(self, told.size):
            try:
                self._append(path, at, data, None)
            except (ValueError, UnicodeDecodeError) as error:
                raise Wrong(path, at, f"it cannot be read: {error}") from error
        self.position, self.sequence = told.behind, head.sequence
        for session in self.sessions.values():
            if session.seal:
                session.next_sequence, session.digest = session.seal.frames + 1, session.seal.digest
        for number, next_sequence, digest in map(read_session_in_head, told.sessions):
            if session := self.sessions.get(number):
                session.next_sequence = next_sequence + (session.seal is not None)
                session.digest = digest

    def _read_segment(self, number: int, name: str, data: bytes, used: int) -> None:
        """One segment, to the end of its whole frames ("Torn or changed")."""
        begins_behind, self.torn_at, was_torn = self.position, None, self.torn_at
        self.ends[number - 1] = begins_behind
        at = self.batch = 0
        self.group = []
        while frame := frame_at(name, data, at):
            self._take(number, frame, begins_behind, was_torn)
            at = frame.end
        if at == 0:
            raise Wrong(name, 0, "the segment does not begin with a whole frame")
        if at < used:
            self._tell_torn_from_changed(name, data, at, used)
            self.torn_at = (name, at)

    @staticmethod
    def _tell_torn_from_changed(name: str, data: bytes, at: int, used: int) -> None:
        candidate = data.find(b"HPf1", at + 1, used)
        while candidate >= 0:
            frame = frame_at(name, data, candidate)
            if frame and at < frame.batch <= candidate:
                raise Wrong(name, at, "a frame is not as it was written: later ones were written after it was safe")
            candidate = data.find(b"HPf1", candidate + 1, used)

    def _take(self, number: int, frame: Frame, begins_behind: Position, was_torn: tuple[str, int] | None) -> None:
        if frame.header[16:48] != self.position.link:
            raise frame.wrong("the frame does not follow from the one before")
        if frame.batch not in (frame.at, self.batch):
            raise frame.wrong("the frame names a batch that it cannot belong to")
        if (frame.kind == SEGMENT_HEAD) != (frame.at == 0):
            raise frame.wrong("a segment begins with its head, and has no other")
        frame.begins = Position(number, frame.at, self.position.link)
        self.batch = frame.batch
        self.frames += 1
        self._count(frame)
        try:
            match frame.kind:
                case 1:
                    self._take_head(number, frame, begins_behind)
                case 3 if not self.on_entry:
                    self.take_anchor(Cursor(frame.body), frame, frame.wrong)
                case 4:
                    self._take_recovered(frame, begins_behind, was_torn)
                case _:
                    if was_torn and frame.at == self.after_head:
                        raise frame.wrong("the segment before is torn, and nothing here says so")
                    self._take_in_group(frame)
        except (ValueError, UnicodeDecodeError) as error:
            raise frame.wrong(f"it cannot be read: {error}") from error
        self.position = Position(number, frame.end, frame.link)
        self.last_frame = frame

    def _count(self, frame: Frame) -> None:
        """Sequences are gapless in each session and in the node."""
        if frame.session == 0:
            expected, self.sequence = self.sequence, self.sequence + 1
        elif session := self.sessions.get(frame.session):
            expected, session.next_sequence = session.next_sequence, session.next_sequence + 1
        else:
            expected = 0
        if frame.sequence != expected:
            raise frame.wrong(f"frame {expected} of the session or node should stand here, and it is {frame.sequence}")

    def _take_head(self, number: int, frame: Frame, begins_behind: Position) -> None:
        """Segment head."""
        self.after_head = frame.end
        head = SegmentHead.read(frame)
        if head.number != number:
            raise frame.wrong("this is another segment")
        if head.behind != begins_behind:
            raise frame.wrong("the segment before ends elsewhere")
        if head.size != self.tree.size or head.roots != self.tree.roots(head.size):
            raise frame.wrong("the entries before are others")
        if (head.last_hash, head.last_time) != (self.last_hash, self.last_time):
            raise frame.wrong("the last entry before is another")
        if head.first_kept != len(self.retired):
            raise frame.wrong("other segments were retired before")
        if head.sessions != [one.in_head() for one in self.sessions.values() if not one.is_settled]:
            raise frame.wrong("the sessions that go on are others")

    @property
    def last_hash(self) -> bytes:
        return self.entries[-1].hash if self.entries else ZEROS

    @property
    def last_time(self) -> Time:
        return self.entries[-1].time if self.entries else Time(0)

    def take_anchor(self, cursor: Cursor, frame: Frame | None, wrong: Callable[[str], Wrong]) -> None:
        """Anchor: in a journal a frame, in a record log an entry."""
        begin = cursor.at
        position, size, root = cursor.position(), cursor.number(8), cursor.take(32)
        nanoseconds, time = cursor.number(8), cursor.time()
        running, due = cursor.number(4), cursor.number(2)
        signed = cursor.data[begin : cursor.at]
        signature = cursor.take(64)
        heads = ((key, b"holdpoint/anchor/v1\n" + key.origin.encode() + b"\n" + signed) for key in self.keys_over(size))
        if not any(key.signed(signature, message) for key, message in heads):
            raise wrong("the signature of an anchor is wrong")
        if frame and position != frame.begins:
            raise wrong("what was signed stood elsewhere")
        if (size, root) != (self.tree.size, self.tree.root(self.tree.size)):
            raise wrong("other entries were signed")
        if running != sum(not session.seal for session in self.sessions.values()):
            raise wrong("other sessions were open when it was signed")
        if frame and frame.nanoseconds != nanoseconds:
            raise wrong("it was signed at another time")
        if due == 0:
            self.run_from = size
        self.anchors.append(Anchor(time, nanoseconds, due, frame))

    def run(self, starts: bool, entry: Entry) -> None:
        """Started and stopped come in turn, but for a crash between ("Where a log ends")."""
        if self.runs == starts and entry.frame and not self.store.has("PART"):
            raise entry.wrong("a run starts in another one" if starts else "a run ends that had ended")
        self.runs = starts
        if starts:
            self.started = entry.index

    def _take_recovered(self, frame: Frame, begins_behind: Position, was_torn: tuple[str, int] | None) -> None:
        """Recovered: second in its segment."""
        cursor = Cursor(frame.body)
        position, is_torn = cursor.position(), cursor.number(1)
        cursor.take(16)
        cursor.time()
        cursor.end()
        if frame.at != self.after_head:
            raise frame.wrong("the mark of a crash stands second in its segment")
        is_known = self.position.segment > self.first
        if position != begins_behind or (is_known and is_torn != bool(was_torn)):
            raise frame.wrong("the segment before ended otherwise")
        self.runs = None
        self.run_from = self.tree.size

    def _take_in_group(self, frame: Frame) -> None:
        """Entries and encrypted frames; a group counts whole or not at all."""
        self.group.append(frame)
        if frame.flags & 1:
            return
        group, self.group = self.group, []
        for one in group:
            if one.kind == LEAF:
                self._append(one.file, one.at, one.body, one)
            elif session := self.sessions.get(one.session):
                session.take(one)
            else:
                raise one.wrong("there is no such session")

    def _append(self, file: str, at: int, data: bytes, frame: Frame | None) -> None:
        """Leaf: an entry."""
        cursor = Cursor(data)
        version, previous, time = cursor.number(1), cursor.take(32), cursor.time()
        entry = Entry(self.tree.size, data, leaf_hash(data), time, data[cursor.at :], file, at, frame)
        if version != 1:
            raise entry.wrong("an entry of a version that FORMAT.md does not know")
        if previous != self.last_hash:
            raise entry.wrong("the entry does not follow from the one before")
        if time < self.last_time:
            raise entry.wrong("the entry is older than the one before")
        if self.on_entry:
            self.on_entry(self, entry)
        elif frame and frame.session:
            raise entry.wrong("the journal has no sessions")
        self.tree.push(entry.hash)
        self.entries.append(entry)


# ---------------------------------------------------------------------------------------------------------------------
# Recordings ("Entries", "Blocks", "Keys")

IN, OUT = 1, 2
DIRECTION = {1: IN, 2: OUT, 3: OUT, 4: IN, 5: OUT, 6: OUT}
MADE_BY_THE_GATE = (4, 5, 6)
SESSION_FILES = r"keys\.0\.age|[0-9]{4}\.blk"


@dataclass
class Seal:
    """What a `sealed` entry says."""

    ending: str
    frames: int
    digest: bytes
    ledger: bytes | None
    accounts: dict[tuple[int, int], list[int]] | None
    entry: Entry


@dataclass
class Block:
    """What a `block` entry says."""

    number: int
    first: int
    frames: int
    begins: int
    ends: int
    bytes_in: int
    bytes_out: int
    file: int
    offset: int
    length: int
    hash: bytes
    entry: Entry


@dataclass
class Session:
    """A recording as the record log tells it."""

    number: int
    ulid: bytes
    key_file: bytes
    commitment: bytes
    nanoseconds: int
    opened: Time
    metadata: dict
    entry: Entry
    next_sequence: int = 1
    digest: bytes = ZEROS
    frames: list[Frame] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    last_entry: bytes = ZEROS
    seal: Seal | None = None
    is_erased: bool = False
    copied: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return crockford(self.ulid)

    @property
    def folder(self) -> str:
        return f"records/sessions/{self.name}"

    @property
    def in_blocks(self) -> int:
        """The sequence behind the last frame in a block."""
        return self.blocks[-1].first + self.blocks[-1].frames if self.blocks else 1

    @property
    def is_settled(self) -> bool:
        """Whether it is sealed and wholly in blocks."""
        return self.seal is not None and self.in_blocks == self.seal.frames

    def in_head(self) -> bytes:
        """How a segment head tells it."""
        sequence = self.seal.frames if self.seal else self.next_sequence
        numbers = struct.pack("<QI", self.in_blocks, len(self.blocks))
        state = struct.pack("<Q", sequence) + self.digest + numbers + self.last_entry
        return struct.pack("<Q", self.number) + self.ulid + state + bytes([self.seal is not None])

    def take(self, frame: Frame) -> None:
        """An encrypted frame."""
        if self.seal:
            raise frame.wrong("a frame behind the session's seal")
        self.digest = sha256(b"\2", self.digest, frame.mark)
        self.frames.append(frame)


def crockford(ulid: bytes) -> str:
    """A ULID as it is written, in lower case."""
    value = int.from_bytes(ulid, "big")
    return "".join("0123456789abcdefghjkmnpqrstvwxyz"[value >> shift & 31] for shift in range(125, -1, -5))


def take_record(log: Log, entry: Entry) -> None:
    """One entry of a record log: what it says, and whether that can stand here."""
    cursor = Cursor(entry.what)
    match cursor.number(1):
        case 1:
            cursor.take(16)
            cursor.text()
            of_session = 0
            log.run(True, entry)
        case 2:
            of_session = 0
            log.run(False, entry)
        case 3:
            of_session = take_opened(log, entry, cursor)
        case 4:
            of_session = take_sealed(log, entry, cursor)
        case 5:
            of_session = 0
            take_block(log, entry, cursor)
        case 6:
            of_session = 0
            log.take_anchor(cursor, entry.frame, entry.wrong)
        case 7:
            of_session = 0
            take_retired(log, entry, cursor)
        case 8 | 9 | 10 as kind:
            of_session = 0
            take_decision(log, entry, kind, cursor)
        case 11:
            of_session = 0
            take_copied(log, entry, cursor)
        case _:
            raise entry.wrong("an entry of a kind that FORMAT.md does not know")
    cursor.end()
    if entry.frame and entry.frame.session != of_session:
        raise entry.wrong("the entry's frame is another session's")


def take_retired(log: Log, entry: Entry, cursor: Cursor) -> None:
    """Retired: segments go in their order."""
    position = cursor.position()
    if position.segment != len(log.retired):
        raise entry.wrong("segments are retired in their order")
    if log.ends.get(position.segment, position) != position:
        raise entry.wrong("the segment that was retired ends elsewhere")
    log.retired.append(position)


def take_opened(log: Log, entry: Entry, cursor: Cursor) -> int:
    ulid, epoch = cursor.take(16), cursor.number(4)
    key_file, commitment = cursor.take(32), cursor.take(32)
    nanoseconds, time = cursor.number(8), cursor.time()
    metadata = json.loads(cursor.text())
    if epoch != 0:
        raise entry.wrong("a session has epoch 0")
    if any(session.ulid == ulid for session in log.sessions.values()):
        raise entry.wrong("a session is opened twice")
    session = Session(
        entry.index, ulid, key_file, commitment, nanoseconds, time, metadata, entry, last_entry=entry.hash
    )
    log.sessions[entry.index] = session
    return entry.index


def take_sealed(log: Log, entry: Entry, cursor: Cursor) -> int:
    ulid, number = cursor.take(16), cursor.number(8)
    ending, frames, digest = cursor.text(), cursor.number(8), cursor.take(32)
    ledger = cursor.take(32) if flag(cursor) else None
    accounts = read_accounts(cursor) if flag(cursor) else None
    position = cursor.position()
    signed = entry.what[1 : cursor.at]
    signature = cursor.take(64)
    session = log.sessions.get(number)
    if not session or session.ulid != ulid or session.seal:
        raise entry.wrong("what it seals was not open")
    key = log.key_at(entry.index)
    if not key.signed(signature, b"holdpoint/seal/v1\n" + key.origin.encode() + b"\n" + signed):
        raise entry.wrong("the signature of a seal is wrong")
    if entry.frame and position != entry.frame.begins:
        raise entry.wrong("what was sealed stood elsewhere")
    if entry.frame and (frames != entry.frame.sequence or digest != session.digest):
        raise entry.wrong("the frames of the session are not those that were sealed")
    session.seal = Seal(ending, frames, digest, ledger, accounts, entry)
    return number


def flag(cursor: Cursor) -> bool:
    value = cursor.number(1)
    if value > 1:
        raise ValueError("neither yes nor no")
    return value == 1


def read_accounts(cursor: Cursor) -> dict[tuple[int, int], list[int]]:
    """Accounts: for each direction of each channel seven numbers, which must add up."""
    accounts = {}
    for _ in range(cursor.number(4)):
        of = (cursor.number(1), cursor.number(4))
        received, forwarded, refused, undelivered, made, recorded, recorded_as_made = numbers = [
            cursor.number(8) for _ in range(7)
        ]
        if of[0] not in (IN, OUT) or of in accounts:
            raise ValueError("an account of a channel that it cannot have")
        if received != recorded or received != forwarded + refused + undelivered or made != recorded_as_made:
            raise ValueError("an account does not add up")
        accounts[of] = numbers
    return accounts


def take_block(log: Log, entry: Entry, cursor: Cursor) -> None:
    session = log.sessions.get(cursor.number(8))
    block = Block(
        number=cursor.number(4),
        first=cursor.number(8),
        frames=cursor.number(4),
        begins=cursor.number(8),
        ends=cursor.number(8),
        bytes_in=cursor.number(8),
        bytes_out=cursor.number(8),
        file=cursor.number(4),
        offset=cursor.number(8),
        length=cursor.number(8),
        hash=cursor.take(32),
        entry=entry,
    )
    previous = cursor.take(32)
    if not session:
        raise entry.wrong("a block of no session")
    if previous != session.last_entry:
        raise entry.wrong("the block does not follow from the session's entry before")
    if block.first != session.in_blocks or not block.frames or block.number < len(session.blocks):
        raise entry.wrong("the block does not begin where the one before ended")
    known = session.seal.frames if session.seal else session.next_sequence if entry.frame else None
    if known is not None and block.first + block.frames > known:
        raise entry.wrong("the block holds more frames than the session")
    session.blocks.append(block)
    session.last_entry = entry.hash


@dataclass
class Decision:
    """What a `held`, `released` or `erased` entry says: which decision of the journal it carries out."""

    event: str
    session: str
    index: int
    hash: bytes
    entry: Entry


def take_copied(log: Log, entry: Entry, cursor: Cursor) -> None:
    """Copied: a file of a session that is done with lies in a bucket, too, locked there."""
    if log.format < 2:
        raise entry.wrong("a log of this format has no such entry")
    ulid, name = cursor.take(16), cursor.text()
    if not re.fullmatch(r"keys\.(0|[1-9][0-9]*)\.age|([0-9]{4}|[1-9][0-9]{4,})\.blk", name):
        raise entry.wrong("no session has a file of this name")
    length, digest = cursor.number(8), cursor.take(32)
    cursor.text()
    cursor.time()
    sessions = [session for session in log.sessions.values() if session.ulid == ulid]
    if not sessions or not sessions[0].is_settled:
        raise entry.wrong("a copy of a session that is not wholly in blocks")
    sessions[0].copied[name] = (length, digest)


def take_decision(log: Log, entry: Entry, kind: int, cursor: Cursor) -> None:
    ulid, index, journaled = cursor.take(16), cursor.number(8), cursor.take(32)
    if kind == 10:
        cursor.take(4 + 8 + 32)
    event = {8: "held", 9: "released", 10: "erased"}[kind]
    for session in log.sessions.values():
        if session.ulid == ulid:
            session.is_erased = session.is_erased or event == "erased"
    log.decisions.append(Decision(event, crockford(ulid), index, journaled, entry))


@dataclass(slots=True)
class Content:
    """One frame of a session as its block holds it; bytes are there where a key opened them."""

    kind: int
    stream: int
    channel: int
    nanoseconds: int
    data: bytes | None
    mark: bytes


class Keys:
    """The keys of one session, made from its root ("Keys")."""

    def __init__(self, root: bytes):
        self.chain = [hkdf(root, b"chain")]
        self.commitment = hkdf(root, b"commit")

    def _of(self, number: int, use: bytes) -> AESGCM:
        if number > 1 << 24:
            raise ValueError("no session has so many blocks")
        while len(self.chain) <= number:
            self.chain.append(hkdf(self.chain[-1], b"next"))
        return AESGCM(hkdf(self.chain[number], use))

    def block(self, number: int) -> AESGCM:
        return self._of(number, b"block")

    def frame(self, number: int) -> AESGCM:
        return self._of(number, b"frame")


def nonce(sequence: int) -> bytes:
    return struct.pack("<QI", sequence, 0)


class Recording:
    """The folder of a session against what the log says of it."""

    def __init__(self, log: Log, session: Session, identities: list[X25519PrivateKey], may_be_gone: bool | None):
        """`may_be_gone`: of what the journal erases, whether it may be gone before a leaf says so; none of all else."""
        self.log, self.session = log, session
        self.identities, self.may_be_gone = identities, may_be_gone
        self.keys: Keys | None = None
        self.totals: dict[tuple[int, int], list[int]] = {}
        self.ledger = hashlib.sha256(b"holdpoint/ledger/v1")
        self.files = 0

    def check(self) -> None:
        may_be_gone = self.session.is_erased or bool(self.may_be_gone)
        if not may_be_gone:
            self._check_copied()
        if may_be_gone or self.lies_elsewhere():
            self._check_erased()
            return
        self._check_key_file()
        digest = ZEROS
        by_sequence = {frame.sequence: frame for frame in self.session.frames}
        sequence, is_complete = 1, True
        for block, contents in self._blocks():
            if contents is None:
                contents = self._from_segments(block, by_sequence)
            if contents is None:
                is_complete = False
                sequence = block.first + block.frames
                continue
            self._check_block_totals(block, contents)
            for content in contents:
                self._compare(block, sequence, content, by_sequence.get(sequence))
                digest = sha256(b"\2", digest, content.mark)
                self._count(content)
                sequence += 1
        for frame in self.session.frames:
            if frame.sequence >= sequence:
                content = self._open_frame(frame)
                digest = sha256(b"\2", digest, content.mark)
                self._count(content)
        if is_complete and self.session.seal:
            self._check_seal(digest)

    def lies_elsewhere(self) -> bool:
        """Whether something of it is not here, and a leaf says of each such file that a copy lies in a bucket ("Copied")."""
        if self.session.is_erased or self.may_be_gone is not None:
            return False
        names = {"keys.0.age", *(f"{block.file:04}.blk" for block in self.session.blocks)}
        gone = {name for name in names if not self.log.store.has(f"{self.session.folder}/{name}")}
        return bool(gone) and gone <= self.session.copied.keys()

    def _check_copied(self) -> None:
        """Files that are here are those of which the log says that a copy lies in a bucket."""
        for name, said in self.session.copied.items():
            path = f"{self.session.folder}/{name}"
            if self.log.store.has(path):
                data = self.log.store.bytes(path)
                if said != (len(data), sha256(data)):
                    raise Wrong(path, 0, "the file is not the one of which the log says that a copy lies in a bucket")

    def _check_erased(self) -> None:
        """What lay in the folder may be gone; frames that still stand in segments are those that were sealed."""
        if self.log.store.has(self.session.folder):
            self.log.store.check_names(self.session.folder, SESSION_FILES)
        if self.session.seal and [frame.sequence for frame in self.session.frames] == [
            *range(1, self.session.seal.frames)
        ]:
            self._check_seal(self.session.digest)

    def _check_key_file(self) -> None:
        name = f"{self.session.folder}/keys.0.age"
        data = self.log.store.bytes(name)
        if sha256(data) != self.session.key_file:
            raise Wrong(name, 0, "the key file is not the one that the session was opened with")
        if self.identities:
            try:
                root = open_age(data, self.identities)
            except (ValueError, InvalidTag, binascii.Error) as error:
                raise Wrong(name, 0, f"the key file cannot be opened: {error or 'it was not made so'}") from error
            if root is None:
                return self._check_for_others(name)
            if len(root) != 32 or hkdf(root, b"commit") != self.session.commitment:
                raise Wrong(name, 0, "the key is not the one that the session was opened with")
            self.keys = Keys(root)

    def _check_for_others(self, name: str) -> None:
        """As without an identity, where the recording says itself that it is for others."""
        said = [bech32_data(text) for text in self.session.metadata.get("recipients", [])]
        if not said:
            raise Misused(f"{name} is not encrypted to this identity")
        own = [raw_public(identity.public_key()) for identity in self.identities]
        if any(key in said for key in own):
            raise Wrong(name, 0, "it says that it is encrypted to this identity, which does not open it")

    def _blocks(self) -> Iterator[tuple[Block, list[Content] | None]]:
        """Each block, and its contents where they can be known."""
        files: dict[str, bytes] = {}
        end_of: dict[str, int] = {}
        for block in self.session.blocks:
            name = f"{self.session.folder}/{block.file:04}.blk"
            data = files[name] if name in files else files.setdefault(name, self.log.store.bytes(name))
            if block.offset != end_of.get(name, 0):
                raise Wrong(name, end_of.get(name, 0), "blocks do not lie one behind the other")
            end_of[name] = block.offset + block.length
            bytes_ = data[block.offset : block.offset + block.length]
            if sha256(bytes_) != block.hash:
                at = min(block.offset, len(data))
                raise Wrong(name, at, "the block is not the one whose hash is in the log")
            try:
                yield block, self._open_block(name, block, bytes_)
            except (ValueError, InvalidTag, zstandard.ZstdError) as error:
                raise Wrong(name, block.offset, f"the block cannot be opened: {error or 'its tag is wrong'}") from error
        self._check_leftovers(end_of)

    def _check_leftovers(self, end_of: dict[str, int]) -> None:
        """Bytes of which the log says nothing lie where a block was being kept, and was kept again in a later file."""
        self.log.store.check_names(self.session.folder, SESSION_FILES)
        last = max(end_of, default="")
        for name in self.log.store.files(self.session.folder):
            is_kept_again = name < last or not self.session.is_settled
            if name.endswith(".blk") and not is_kept_again and len(self.log.store.bytes(name)) > end_of.get(name, 0):
                raise Wrong(name, end_of.get(name, 0), "nothing in the log speaks of these bytes")

    def _open_block(self, name: str, block: Block, data: bytes) -> list[Content] | None:
        """Header and content of a block ("Blocks")."""
        if len(data) < 56:
            raise ValueError("it is shorter than a header")
        magic, version, form, codec, zero, session, number, length, first, frames, plain, begins, ends = struct.unpack(
            "<4sBBBBQIIQIIQQ", data[:56]
        )
        if magic != b"HPb1" or version != 1 or form not in (1, 2) or codec not in (0, 1) or zero:
            raise ValueError("its header is of a kind that FORMAT.md does not know")
        told = (self.session.number, block.number, block.first, block.frames, block.begins, block.ends)
        if (session, number, first, frames, begins, ends) != told or length != len(data) - 56:
            raise ValueError("its header and the log say different things")
        if form == 2:
            if codec or plain:
                raise ValueError("its header is of a kind that FORMAT.md does not know")
            return self._read_frames(name, block, data[56:])
        if not self.keys:
            return None
        content = self.keys.block(number).decrypt(bytes(12), data[56:], data[:56])
        if codec == 1:
            content = zstandard.ZstdDecompressor().decompress(content, max_output_size=max(plain, 1))
        if len(content) != plain:
            raise ValueError("its content is longer or shorter than its header says")
        return self._read_content(block, content)

    def _read_frames(self, name: str, block: Block, data: bytes) -> list[Content]:
        """Form 2: the session's frames as they were."""
        contents, at = [], 0
        while at < len(data):
            frame = frame_at(name, data, at)
            if not frame or frame.session != self.session.number or frame.sequence != block.first + len(contents):
                raise ValueError(f"at byte {at} there is no frame of the session that belongs there")
            contents.append(self._open_frame(frame))
            at = frame.end
        return contents

    def _open_frame(self, frame: Frame) -> Content:
        data = None
        if self.keys:
            try:
                key = self.keys.frame(frame.block)
                data = key.decrypt(nonce(frame.sequence), frame.body, frame.identity)
            except (InvalidTag, ValueError) as error:
                raise frame.wrong("the frame cannot be opened with the session's key") from error
        stream = frame.stream & ~ENCRYPTED
        return Content(frame.kind, stream, frame.channel, frame.nanoseconds, data, frame.mark)

    def _read_content(self, block: Block, content: bytes) -> list[Content]:
        """Form 1: keyframes, which are no evidence, and frames, whose marks are made again."""
        cursor = Cursor(content)
        for _ in range(cursor.leb128()):
            for _ in range(3):
                cursor.leb128()
            cursor.take(cursor.leb128())
        contents, nanoseconds = [], block.begins
        key = self.keys.frame(block.number)
        while cursor.at < len(content):
            kind, stream = cursor.number(1), cursor.number(1)
            channel = cursor.leb128()
            nanoseconds += cursor.leb128()
            data = cursor.take(cursor.leb128())
            sequence = block.first + len(contents)
            identity = struct.pack(
                "<BBBBQQQII",
                1,
                kind,
                stream | ENCRYPTED,
                0,
                self.session.number,
                sequence,
                nanoseconds,
                channel,
                block.number,
            )
            tag = key.encrypt(nonce(sequence), data, identity)[-16:]
            mark = sha256(b"\3", identity, tag)
            contents.append(Content(kind, stream & ~ENCRYPTED, channel, nanoseconds, data, mark))
        return contents

    def _from_segments(self, block: Block, by_sequence: dict[int, Frame]) -> list[Content] | None:
        """What a closed block must hold, as far as its frames still stand in segments."""
        frames = [by_sequence.get(sequence) for sequence in range(block.first, block.first + block.frames)]
        return None if None in frames else [self._open_frame(frame) for frame in frames if frame]

    def _check_block_totals(self, block: Block, contents: list[Content]) -> None:
        if len(contents) != block.frames:
            raise block.entry.wrong("the block holds another number of frames than the log says")
        if (contents[0].nanoseconds, contents[-1].nanoseconds) != (block.begins, block.ends):
            raise block.entry.wrong("the block's frames are of other times than the log says")

    def _compare(self, block: Block, sequence: int, content: Content, frame: Frame | None) -> None:
        """A frame in its block is the one in its segment."""
        if frame and frame.mark != content.mark:
            name = f"{self.session.folder}/{block.file:04}.blk"
            raise Wrong(name, block.offset, f"frame {sequence} of the session is another one in its segment")

    def _count(self, content: Content) -> None:
        if content.data is None:
            return
        if content.kind == DATA:
            if content.stream not in DIRECTION:
                raise Wrong(self.session.folder, None, "a stream that FORMAT.md does not know")
            totals = self.totals.setdefault((DIRECTION[content.stream], content.channel), [0, 0])
            totals[content.stream in MADE_BY_THE_GATE] += len(content.data)
        elif content.kind == FILE_ENTRY:
            self.files += 1
            self.ledger.update(struct.pack("<I", len(content.data)) + content.data)

    def _check_seal(self, digest: bytes) -> None:
        """Seal: the digest, and with a key the accounts and the ledger."""
        seal = self.session.seal
        if digest != seal.digest:
            raise seal.entry.wrong("the frames of the session are not those that were sealed")
        if not self.keys:
            return
        if (seal.ledger is None and self.files) or seal.ledger not in (None, self.ledger.digest()):
            raise seal.entry.wrong("the list of files is not the one that was sealed")
        if seal.accounts is not None:
            self._check_accounts(seal)

    def _check_accounts(self, seal: Seal) -> None:
        """What was recorded of each channel is what the seal says of it."""
        told = dict(seal.accounts)
        found: dict[tuple[int, int], list[int]] = {}
        for (direction, channel), totals in self.totals.items():
            of = (direction, channel if (direction, channel) in told else 0xFFFFFFFF)
            sums = found.setdefault(of, [0, 0])
            sums[0] += totals[0]
            sums[1] += totals[1]
        for of, numbers in told.items():
            if found.pop(of, [0, 0]) != [numbers[5], numbers[6]]:
                raise seal.entry.wrong(f"other bytes of channel {of[1]} are recorded than were sealed")
        if any(sum(totals) for totals in found.values()):
            raise seal.entry.wrong("bytes are recorded of a channel that the seal does not know")


# ---------------------------------------------------------------------------------------------------------------------
# age v1 (C2SP age): files with one or more X25519 recipients


def bech32_data(text: str) -> bytes:
    """The data of a Bech32 text (BIP 173), its checksum checked."""
    text = text.lower()
    prefix, _, encoded = text.rpartition("1")
    values = ["qpzry9x8gf2tvdw0s3jn54khce6mua7l".index(letter) for letter in encoded]
    checksum = 1
    for value in [*(ord(c) >> 5 for c in prefix), 0, *(ord(c) & 31 for c in prefix), *values]:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            checksum ^= generator if top >> bit & 1 else 0
    if checksum != 1:
        raise ValueError("its checksum is wrong")
    number = 0
    for value in values[:-6]:
        number = number << 5 | value
    bits = 5 * len(values[:-6])
    return (number >> bits % 8).to_bytes(bits // 8, "big")


def read_identities(path: Path) -> list[X25519PrivateKey]:
    """The identities in a file as `age-keygen` writes it."""
    found = []
    for line in path.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            if not line.startswith("AGE-SECRET-KEY-1"):
                raise Misused(f"{path}: a line is no identity of age")
            try:
                found.append(X25519PrivateKey.from_private_bytes(bech32_data(line.strip())))
            except ValueError as error:
                raise Misused(f"{path}: {error}") from error
    if not found:
        raise Misused(f"{path}: no identity")
    return found


def raw_public(key: X25519PublicKey) -> bytes:
    """The 32 bytes of a public key."""
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def age_base64(text: str) -> bytes:
    """Base64 without padding, in its one spelling."""
    return strict_base64(text + "=" * (-len(text) % 4))


def open_age(data: bytes, identities: list[X25519PrivateKey]) -> bytes | None:
    """What the file holds; none where it is encrypted to none of these."""
    header, found, rest = data.partition(b"\n--- ")
    mac, newline, payload = rest.partition(b"\n")
    lines = header.decode("ascii").split("\n")
    if not found or not newline or lines[0] != "age-encryption.org/v1":
        raise ValueError("it is no age file")
    file_key = None
    for kind, arguments, body in age_stanzas(lines[1:]):
        if kind == "X25519" and file_key is None:
            file_key = unwrap_age(arguments, body, identities)
    if file_key is None:
        return None
    wanted = hmac.digest(hkdf(file_key, b"header"), header + b"\n---", "sha256")
    if not hmac.compare_digest(wanted, age_base64(mac.decode("ascii"))):
        raise ValueError("its header was changed")
    return open_age_payload(hkdf(file_key, b"payload", payload[:16]), payload[16:])


def age_stanzas(lines: list[str]) -> Iterator[tuple[str, list[str], bytes]]:
    at = 0
    while at < len(lines):
        arrow, kind, *arguments = lines[at].split(" ")
        if arrow != "->":
            raise ValueError("a line is no recipient")
        body, at = "", at + 1
        while True:
            body, line, at = body + lines[at], lines[at], at + 1
            if len(line) < 64:
                break
        yield kind, arguments, age_base64(body)


def unwrap_age(arguments: list[str], body: bytes, identities: list[X25519PrivateKey]) -> bytes | None:
    share = age_base64(arguments[0])
    for identity in identities:
        shared = identity.exchange(X25519PublicKey.from_public_bytes(share))
        key = hkdf(shared, b"age-encryption.org/v1/X25519", share + raw_public(identity.public_key()))
        try:
            return ChaCha20Poly1305(key).decrypt(bytes(12), body, None)
        except InvalidTag:
            continue
    return None


def open_age_payload(key: bytes, payload: bytes) -> bytes:
    """STREAM: chunks of 64 KiB, the last of which is marked."""
    size = (64 << 10) + 16
    chunks = [payload[at : at + size] for at in range(0, max(len(payload), 1), size)]
    cipher, plain = ChaCha20Poly1305(key), b""
    for number, chunk in enumerate(chunks):
        is_last = number == len(chunks) - 1
        plain += cipher.decrypt(number.to_bytes(11, "big") + bytes([is_last]), chunk, None)
    return plain


# ---------------------------------------------------------------------------------------------------------------------
# Signatures of people (OpenSSH PROTOCOL.sshsig) over canonical JSON (RFC 8785)


def canonical(value: object) -> bytes:
    """RFC 8785; numbers in events are integers."""

    def in_order(value: object) -> object:
        if isinstance(value, dict):
            return {key: in_order(value[key]) for key in sorted(value, key=lambda text: text.encode("utf-16-be"))}
        if isinstance(value, list):
            return [in_order(one) for one in value]
        if isinstance(value, float) or (isinstance(value, int) and abs(value) > 1 << 53):
            raise ValueError("a number that is not a small integer")
        return value

    return json.dumps(in_order(value), separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(kind: str, value: object) -> bytes:
    """Statements and what they are about, as digests (docs/EVENTS.md, "Signatures")."""
    return sha256(f"holdpoint/{kind}/v1".encode(), canonical(value))


class SshCursor(Cursor):
    """Reads SSH's strings (RFC 4251, section 5)."""

    def string(self) -> bytes:
        return self.take(int.from_bytes(self.take(4), "big"))


def ssh_string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def key_blob(line: str) -> bytes:
    """The blob in a line `type base64 [comment]`."""
    kind, encoded, *_ = line.split(" ")
    blob = strict_base64(encoded)
    if SshCursor(blob).string().decode() != kind:
        raise ValueError("a key of two kinds")
    return blob


def fingerprint(line: str) -> str:
    return "SHA256:" + base64.b64encode(sha256(key_blob(line))).decode().rstrip("=")


def check_sshsig(armored: str, key: str, namespace: str, message: bytes) -> None:
    """Raises ValueError unless this key signed this message in this namespace."""
    lines = armored.split("\n")
    if lines[0] != "-----BEGIN SSH SIGNATURE-----" or lines[-2:] != ["-----END SSH SIGNATURE-----", ""]:
        raise ValueError("it is no signature")
    cursor = SshCursor(strict_base64("".join(lines[1:-2])))
    if cursor.take(10) != b"SSHSIG\0\0\0\1":
        raise ValueError("it is no signature")
    blob, signed_in, reserved = cursor.string(), cursor.string(), cursor.string()
    algorithm, signature = cursor.string(), cursor.string()
    cursor.end()
    if reserved:
        raise ValueError("a signature of a later kind")
    if blob != key_blob(key) or signed_in.decode() != namespace or algorithm not in (b"sha256", b"sha512"):
        raise ValueError("another key signed, or for another purpose")
    hashed = hashlib.new(algorithm.decode(), message).digest()
    signed = b"SSHSIG" + b"".join(map(ssh_string, (signed_in, reserved, algorithm, hashed)))
    try:
        check_ssh_signature(blob, signature, signed)
    except InvalidSignature as error:
        raise ValueError("the signature is wrong") from error


def check_ssh_signature(blob: bytes, signature: bytes, signed: bytes) -> None:
    """Signatures of the kinds of keys that people have (RFC 8709, 8332, 5656, OpenSSH PROTOCOL.u2f)."""
    key, cursor = SshCursor(blob), SshCursor(signature)
    kind, algorithm, raw = key.string().decode(), cursor.string().decode(), cursor.string()
    if kind == "ssh-rsa":
        exponent, modulus = (int.from_bytes(key.string(), "big") for _ in range(2))
        hashed = {"rsa-sha2-256": hashes.SHA256(), "rsa-sha2-512": hashes.SHA512()}.get(algorithm)
        if hashed is None:
            raise ValueError("an RSA signature of a kind that counts for nothing")
        rsa.RSAPublicNumbers(exponent, modulus).public_key().verify(raw, signed, padding.PKCS1v15(), hashed)
    elif kind == "sk-ecdsa-sha2-nistp256@openssh.com" and is_passkey(blob):
        check_passkey(key, algorithm, raw, cursor, signed)
    elif kind != algorithm:
        raise ValueError("a signature of another kind than its key")
    elif kind == "ssh-ed25519":
        Ed25519PublicKey.from_public_bytes(key.string()).verify(raw, signed)
    elif kind.startswith("ecdsa-sha2-"):
        curve, hashed = CURVES[key.string()]
        ec.EllipticCurvePublicKey.from_encoded_point(curve, key.string()).verify(der(raw), signed, ec.ECDSA(hashed))
    elif kind == "sk-ssh-ed25519@openssh.com":
        public, application = key.string(), key.string()
        Ed25519PublicKey.from_public_bytes(public).verify(raw, security_key_data(application, cursor, signed))
    elif kind == "sk-ecdsa-sha2-nistp256@openssh.com":
        curve, hashed = CURVES[key.string()]
        public, application = key.string(), key.string()
        data = security_key_data(application, cursor, signed)
        ec.EllipticCurvePublicKey.from_encoded_point(curve, public).verify(der(raw), data, ec.ECDSA(hashed))
    else:
        raise ValueError(f"a key of kind {kind}")
    key.end()
    cursor.end()


def is_passkey(blob: bytes) -> bool:
    """Whether an sk-ecdsa key was made for a site and not for SSH: its application is the site's name."""
    key = SshCursor(blob)
    _, _, _, application = (key.string() for _ in range(4))
    return not application.startswith(b"ssh:")


def client_data_of(data: bytes) -> dict:
    """What a browser says it was asked: one JSON object, with each member that matters once and of its kind."""

    def no_constant(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    def depth(value: object) -> int:
        return 1 + max(map(depth, value), default=0) if isinstance(value, list | tuple) else 0

    try:
        # Objects become tuples of their members, so that none that comes twice is lost.
        members = json.loads(data.decode(), object_pairs_hook=tuple, parse_constant=no_constant) if len(data) <= 4096 else None
        # A member is a tuple, too.
        if not isinstance(members, tuple) or depth(members) > 2 * 126:
            raise ValueError("no browser says this")
    except RecursionError as error:
        raise ValueError("no browser says this") from error
    kinds = {"type": str, "challenge": str, "origin": str, "crossOrigin": bool, "topOrigin": str | None}
    known = [(name, value) for name, value in members if name in kinds]
    said = dict(known)
    is_whole = len(said) == len(known) and {"type", "challenge", "origin"} <= said.keys()
    if not is_whole or not all(isinstance(value, kinds[name]) for name, value in known):
        raise ValueError("no browser says this")
    return said


def is_short_and_positive(integer: bytes) -> bool:
    """One of the two numbers of a signature, in the one form that it has (RFC 4251, section 5)."""
    digits = integer[1:] if integer[:1] == b"\0" else integer
    has_one_form = len(digits) == len(integer) if digits[:1] < b"\x80" else len(digits) == len(integer) - 1
    return 0 < len(digits) <= 32 and digits[0] != 0 and has_one_form


def check_passkey(key: SshCursor, algorithm: str, raw: bytes, cursor: SshCursor, signed: bytes) -> None:
    """An answer of a browser (WebAuthn Level 3, 7.2) as OpenSSH's PROTOCOL.u2f writes it (docs/EVENTS.md, "Signatures")."""
    if algorithm != "webauthn-sk-ecdsa-sha2-nistp256@openssh.com":
        raise ValueError("a passkey signs on pages")
    _, public, site = key.string(), key.string(), key.string()
    flags, counter = cursor.take(1), cursor.take(4)
    origin, client_data, extensions = cursor.string(), cursor.string(), cursor.string()
    said = client_data_of(client_data)
    page = said["origin"]
    challenge = base64.urlsafe_b64encode(signed).decode().rstrip("=")
    if said.get("type") != "webauthn.get" or said.get("challenge") != challenge:
        raise ValueError("the passkey answered another question")
    named = re.fullmatch(r"https://([a-z0-9.-]*[a-z][a-z0-9.-]*)(?::([0-9]+))?", page)
    is_of_site = named is not None and named[1].encode() == site and page.encode() == origin
    if not is_of_site or int(named[2] or 443) > 65535 or said.get("crossOrigin", False) or said.get("topOrigin") is not None:
        raise ValueError("the passkey was used on another page")
    if flags[0] & 0b101 != 0b101:
        raise ValueError("the passkey did not check who held it")
    if flags[0] & 0x40 or bool(flags[0] & 0x80) != bool(extensions) or flags[0] & 0x18 == 0x10:
        raise ValueError("the passkey says more than an answer")
    numbers = SshCursor(raw)
    if not all(is_short_and_positive(numbers.string()) for _ in range(2)):
        raise ValueError("a number that is written otherwise than it has to be")
    data = sha256(site) + flags + counter + extensions + sha256(client_data)
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public).verify(der(raw), data, ec.ECDSA(hashes.SHA256()))


CURVES = {
    b"nistp256": (ec.SECP256R1(), hashes.SHA256()),
    b"nistp384": (ec.SECP384R1(), hashes.SHA384()),
    b"nistp521": (ec.SECP521R1(), hashes.SHA512()),
}


def der(raw: bytes) -> bytes:
    """An ECDSA signature of SSH as `cryptography` takes it."""
    cursor = SshCursor(raw)
    r, s = (int.from_bytes(cursor.string(), "big") for _ in range(2))
    cursor.end()
    return encode_dss_signature(r, s)


def security_key_data(application: bytes, cursor: SshCursor, signed: bytes) -> bytes:
    """What a security key signs; it must have been touched."""
    flags, counter = cursor.take(1), cursor.take(4)
    if not flags[0] & 1:
        raise ValueError("nobody touched the security key")
    return sha256(application) + flags + counter + sha256(signed)


# ---------------------------------------------------------------------------------------------------------------------
# What the journal says (docs/EVENTS.md)


@dataclass
class Person:
    """Somebody as the journal has them so far."""

    kind: dict
    groups: list[str]
    keys: list[str] = field(default_factory=list)
    counts: bool = False
    vouched_by: set[str] = field(default_factory=set)
    subjects: dict[str, str] = field(default_factory=dict)
    invited_by: str | None = None
    invited_at: int = 0
    locked_until: int = 0
    manages: bool = False
    attested: tuple[str, int, int] | None = None


@dataclass
class Link:
    """A code that went out and was not used: to whom, until when, by whom. Those of the first people end never."""

    person: str
    expires: int | None
    by: str | None


@dataclass
class Case:
    """A request, extension or widening, and who said what."""

    about: dict
    rule: dict
    is_emergency: bool
    yes: list[str] = field(default_factory=list)


class Journal:
    """Folds the events: who counts, what they signed, which sessions began and ended."""

    def __init__(self, log: Log, trust: Trust):
        self.log, self.trust = log, trust
        self.people: dict[str, Person] = {}
        self.cases: dict[str, Case] = {}
        self.started: dict[str, tuple[Entry, dict]] = {}
        self.ended: dict[str, tuple[Entry, dict]] = {}
        self.checkpoints: list[tuple[Entry, str, str]] = []
        self.restores: list[tuple[Entry, dict]] = []
        self.nodes: dict[str, int] = {}  # what each that is up reads
        self.nodes_read: dict[str, int] = {}  # what each read that ever was up
        self.nodes_forgotten: set[str] = set()
        self.cuts: set[str] = set()
        self.kept_out: dict[str, tuple[str, str | None]] = {}
        self.deadlines: dict[str, int] = {}
        self.windows: dict[str, int] = {}
        self.holds: dict[str, set[str]] = {}
        self.erasers: dict[str, set[str]] = {}
        self.decisions: dict[int, tuple[str, str]] = {}
        self.on_duty: dict[str, int] = {}
        self.telephones: dict[str, str | None] = {}
        self.contracts: dict[str, int] = {}
        self.vendors: set[str] = set()
        self.allowed: dict[str, tuple[int, list[str]]] = {}
        self.links: dict[str, Link] = {}
        self.guests: dict[str, dict] = {}
        self.visits: dict[str, str] = {}
        self.gone: dict[str, int] = {}
        self.rules_of_guests: dict[str, str] = {}
        self.asked_on: dict[str, str] = {}
        self.look_back: tuple[str, str, str, str | None] | None = None
        self.given: set[str] = set()
        self.looked_back: set[str] = set()
        self.put_out: set[str] = set()
        self.closed_out: set[str] = set()
        self.accounted: dict[str, int] = {}
        self.sessions_of: dict[str, list[str]] = {}
        self.asks_of: dict[str, list[str]] = {}
        self.signatures = self.weaker = self.grants = 0

    def restores_of(self, node: str) -> list[tuple[Entry, dict]]:
        """Those by which a node's recordings have other names; the journal's they all change ("Restored")."""
        return [(entry, restore) for entry, restore in self.restores if restore["node"] == node]

    def read(self, report: Report) -> None:
        for entry in self.log.entries:
            with report.looking():
                try:
                    self._take(entry, json.loads(entry.what.decode()))
                except (KeyError, TypeError, ValueError, AttributeError) as error:
                    raise entry.wrong(f"the event cannot be believed: {error}") from error

    def _take(self, entry: Entry, event: dict) -> None:
        if event["v"] != 1:
            raise ValueError("it is of a version that EVENTS.md does not know")
        match event["event"]:
            case "founded":
                self._founded(event)
            case "invited":
                self._invited(entry, event)
            case "reinvited":
                self._reinvited(entry, event)
            case "invitations-allowed":
                self._by_administrator(event["by"])
                if event["vendor"] not in self.vendors or (event["most"] and not event["roles"]):
                    raise ValueError("managers were allowed to invite without a contract, or in no role")
                if self.allowed.get(event["vendor"], (0, [])) == (event["most"], event["roles"]):
                    raise ValueError(CHANGES_NOTHING)
                self.allowed[event["vendor"]] = (event["most"], event["roles"])
            case "manager-named" | "manager-dismissed" as what:
                self._manages(event, what == "manager-named")
            case "attested" | "attestation-withdrawn":
                self._attested(entry, event)
            case "contracted":
                self.vendors.add(event["vendor"])
                self.telephones[event["vendor"]] = event.get("telephone")
                self.contracts[event["vendor"]] = instant(event["end"])
            case "vendor-disabled":
                self.contracts.pop(event["vendor"], None)
                theirs = {name for name, one in self.people.items() if one.kind.get("vendor") == event["vendor"]}
                self._void(lambda link: link.by in theirs)
            case "guest-invited":
                self._guest_invited(entry, event)
            case "guest-ended":
                self._guest_ended(entry, event)
            case "guest-reviewed":
                self._looked_back_at(entry, event)
            case "reviewed":
                self._reviewed(event)
            case "accounted":
                self._accounted(entry, event)
            case "closed-out":
                self._closed_out(entry, event)
            case "session-reviewed":
                self._session_reviewed(event)
            case "enrolled":
                self._enrolled(entry, event)
            case "key-added":
                self._key_added(event)
            case "subject-linked" | "subject-renamed" | "subject-contested" as what:
                self._known_as(what, event)
            case "subject-unlinked":
                self._unlinked(event)
            case "certified":
                self._certified(entry, event["certificate"])
            case "activated":
                self._activated(event["person"])
            case "disabled":
                self._put_out_by_company(entry, event)
                self.people[event["person"]].counts = False
                self._void(lambda link: link.person == event["person"])
                self._dismissed(event["person"])
                self.put_out.add(event["person"])
                if event["person"] in self.visits:
                    self.gone.setdefault(self.visits[event["person"]], entry.time)
            case "plant-signed":
                self._signed(entry, event["signed"], event["signed"]["statement"]["signer"], "plant")
            case "secret-set" | "secret-forgotten":
                if not self._is_here(event["by"]) or self.people[event["by"]].kind["kind"] != "administrator":
                    raise ValueError("a secret was set or forgotten by nobody who may")
            case "nodes-forgotten":
                if not self._is_here(event["by"]) or self.people[event["by"]].kind["kind"] != "administrator":
                    raise ValueError("nodes were forgotten by nobody who may")
                self._nodes_forgotten(set(event["nodes"]))
            case "node-started":
                self.nodes[event["node"]] = event.get("vocabulary", 1)
                self.nodes_read[event["node"]] = event.get("vocabulary", 1)
                self.nodes_forgotten.discard(event["node"])
            case "node-stopped":
                self.nodes.pop(event["node"], None)
            case "submitted":
                self._submitted(entry, event["request"], event["rule"])
            case "extension-asked":
                self._asked(event["extension"])
            case "widening-asked":
                self._asked(event["widening"])
            case "voted":
                self._voted(entry, event["verdict"])
            case "voted-weaker":
                self._voted_weaker(entry, event["statement"], event["way"])
            case "accepted":
                self._accepted(entry, event)
            case "not-accepted":
                if event["then"] != self.cases[event["request"]].rule.get("unaccepted", {"then": "freeze"})["then"]:
                    raise ValueError("its rule says otherwise what becomes of what nobody accepts")
            case "on-duty":
                self.on_duty[event["person"]] = instant(event["until"])
            case "reopened":
                self._reopened(entry, event)
            case "granted":
                self.grants += 1
                self.given.add(event["request"])
                self._allowed(event["request"])
                self._is_attested(entry, event["request"])
            case "extended" | "widened" as what:
                if event["request"] in self.closed_out:
                    raise ValueError("more was given of a grant that was closed out")
                self._allowed(event["ask"])
                self._is_attested(entry, event["request"])
                if what == "extended":
                    self._extended(event)
            case "locked":
                self.people[event["person"]].locked_until = instant(event["until"])
            case "cut":
                self.cuts.add(event["cut"].removeprefix("c_"))
                self.kept_out[event["cut"]] = (event["scope"], event.get("of"))
            case "started":
                self._started(entry, event)
            case "held" | "released" | "erased" as what:
                self.decisions[entry.index] = (what, event["session"].removeprefix("s_"))
                self._kept_or_erased(entry, what, event)
            case "erasure-signed":
                signed = event["signed"]
                self._signed(entry, signed, signed["statement"]["signer"], "erase")
                self.erasers.setdefault(signed["statement"]["session"], set()).add(signed["statement"]["signer"])
            case "checkpointed":
                self.checkpoints.append((entry, event["node"], event["checkpoint"]))
            case "restored":
                self._restored(entry, event)
                for guest in self.guests:
                    self.gone.setdefault(guest, entry.time)
            case "ended":
                self.ended[event["session"].removeprefix("s_")] = (entry, event)

    def _founded(self, event: dict) -> None:
        if event["deployment"] != self.trust.deployment or event["log_key"] != self.log.names[0][1].text:
            raise ValueError("another installation was founded")
        for one in event["founders"]:
            self.people[one["person"]] = Person(kind_of(one), one["groups"])
            self._goes_out(one["link"], Link(one["person"], None, None))
        found = {name: person.kind["kind"] for name, person in self.people.items()}
        if found != {name: role for name, (role, _) in self.trust.people.items()}:
            raise ValueError("the first people are not those in trust.toml")

    def _goes_out(self, name: str, link: Link) -> None:
        if name in self.links:
            raise ValueError("two codes are one")
        self.links[name] = link

    def _void(self, is_void: Callable[[Link], bool]) -> None:
        self.links = {name: link for name, link in self.links.items() if not is_void(link)}

    def _enrolled(self, entry: Entry, event: dict) -> None:
        """By a code that went out to them, once (docs/EVENTS.md, HP1102, HP1103, HP1112 and HP1113)."""
        link = self.links.pop(event["link"], None)
        if link is None or link.person != event["person"]:
            raise ValueError("somebody enrolled with no code of theirs, or with one that was used or void")
        if link.expires is not None and link.expires <= entry.time - SLEW:
            raise ValueError("somebody enrolled with a code that lasted no longer")
        person = self.people[event["person"]]
        person.keys, person.vouched_by, person.locked_until = event["keys"], set(), 0
        self._disown(event["person"])
        person.subjects.clear()
        self.on_duty.pop(event["person"], None)
        _, known = self.trust.people.get(event["person"], ("", set()))
        is_first = bool(person.keys) and {fingerprint(key) for key in person.keys} <= known
        person.counts = is_first or person.kind["kind"] == "technician"

    def _certified(self, entry: Entry, certificate: dict) -> None:
        statement = certificate["statement"]
        self._signed(entry, certificate, statement["signer"], "certify")
        person = self.people[statement["person"]]
        if (statement["kind"], statement["keys"], statement["groups"]) != (person.kind, person.keys, person.groups):
            raise ValueError("somebody else was vouched for")
        person.vouched_by.add(statement["signer"])

    def _key_added(self, event: dict) -> None:
        """Technicians alone have more than one key (docs/EVENTS.md, HP1116)."""
        person = self.people[event["person"]]
        if person.kind["kind"] != "technician" or not person.counts:
            raise ValueError("a key was added for somebody who is no technician that counts")
        if any(event["key"] in one.keys for one in self.people.values()):
            raise ValueError("the key is somebody's already")
        if len(person.keys) >= KEYS_MAX:
            raise ValueError("nobody has so many keys")
        person.keys = [*person.keys, event["key"]]

    def _known_as(self, what: str, event: dict) -> None:
        """A provider's subject is one person's, who counts (docs/EVENTS.md, HP1117 to HP1120)."""
        person = self.people[event["person"]]
        if not self._is_here(event["person"]):
            raise ValueError("a provider knows somebody who does not count")
        subject = (event["provider"], event["subject"])
        holder = next((name for name, one in self.people.items() if subject in one.subjects.items()), None)
        if what == "subject-contested":
            if holder is None or holder == event["person"] or holder != event["holder"]:
                raise ValueError("nobody else has the subject that is contested")
        elif holder != (event["person"] if what == "subject-renamed" else None):
            raise ValueError("the subject is somebody's already, or not theirs")
        else:
            person.subjects[event["provider"]] = event["subject"]

    def _is_here(self, name: str) -> bool:
        person = self.people[name]
        return person.counts or (person.kind["kind"] == "auditor" and bool(person.keys) and name not in self.put_out)

    def _unlinked(self, event: dict) -> None:
        by = self.people[event["by"]]
        if not self._is_here(event["by"]) or (event["by"] != event["person"] and by.kind["kind"] != "administrator"):
            raise ValueError("nobody who may has unlinked the subject")
        if self.people[event["person"]].subjects.pop(event["provider"], None) is None:
            raise ValueError("what was unlinked was not linked")

    def _activated(self, name: str) -> None:
        """An administrator and a member of each group vouch (docs/operator.md, "Once: enrol")."""
        person = self.people[name]
        by = [self.people[one] for one in person.vouched_by]
        if not any(one.kind["kind"] == "administrator" for one in by):
            raise ValueError("no administrator vouched for them")
        if not all(any(group in one.groups for one in by) for group in person.groups):
            raise ValueError("nobody of one of the groups vouched for them")
        person.counts = True

    def _submitted(self, entry: Entry, request: dict, rule: dict) -> None:
        if digest_of("rule", rule).hex() != request["rule"]:
            raise ValueError("the request names another rule")
        self._asked_by_guest(request, rule)
        self.cases[request["id"]] = Case(request, rule, request["emergency"])
        self._is_attested(entry, request["id"])

    def _started(self, entry: Entry, event: dict) -> None:
        name, request, deadline = event["session"].removeprefix("s_"), event["request"], instant(event["deadline"])
        if request in self.closed_out:
            raise ValueError("a session began under a grant that was closed out")
        self._began_by_guest(entry, event, deadline)
        self._is_attested(entry, request)
        self.started[name] = (entry, event)
        if event["node"] in self.nodes_forgotten:
            self.nodes_forgotten.discard(event["node"])
            self.nodes[event["node"]] = self.nodes_read[event["node"]]
        self.sessions_of.setdefault(request, []).append(name)
        self.deadlines[request] = deadline
        rule = self.cases[request].rule
        outlives = rule["hold_max"] + (0 if rule["ending"] == "cut" else rule["ending"]["freeze"]["max"])
        self.windows[name] = deadline - entry.time + (outlives + SLACK) * 1_000_000_000

    def _nodes_forgotten(self, gone: set[str]) -> None:
        """Nodes that there were, that carry nothing any more, and where all others that are up read that (docs/EVENTS.md)."""
        if not gone or not gone <= self.nodes_read.keys() or gone & self.nodes_forgotten:
            raise ValueError("nodes were forgotten that there were not")
        if any(reads < 2 for node, reads in self.nodes.items() if node not in gone):
            raise ValueError("it was written while a node was up that does not read it")
        since = self.restores[-1][0].index if self.restores else 0
        carried = (name for name, (entry, event) in self.started.items() if event["node"] in gone and entry.index > since)
        if any(name not in self.ended for name in carried):
            raise ValueError("a node was forgotten whose sessions had not ended")
        for node in gone:
            self.nodes.pop(node, None)
        self.nodes_forgotten |= gone

    def _extended(self, event: dict) -> None:
        request, deadline = event["request"], instant(event["deadline"])
        guest = self.guests.get(self.asked_on.get(request))
        if guest and instant(guest["until"]) < deadline:
            raise ValueError("a guest was given more time than their visit has")
        longer = max(deadline - self.deadlines.get(request, deadline), 0)
        self.deadlines[request] = deadline
        for name in self.sessions_of.get(request, []):
            self.windows[name] += longer

    def _guest_invited(self, entry: Entry, event: dict) -> None:
        """An operator on duty, for one person, target and rule, and no longer than a night (docs/EVENTS.md, "Guests")."""
        invitation, rule = event["invitation"], event["rule"]
        statement = invitation["statement"]
        self._signed(entry, invitation, statement["operator"], "guest")
        operator, person = self.people[statement["operator"]], statement["person"]
        if operator.kind["kind"] != "operator" or operator.kind.get("vendor") == statement["vendor"]:
            raise ValueError("a guest was invited by somebody who is no operator of the plant's")
        if self.on_duty.get(statement["operator"], 0) <= entry.time - SLEW:
            raise ValueError("a guest was invited by somebody who was not on duty")
        if digest_of("rule", rule).hex() != statement["rule"]:
            raise ValueError("the invitation names another rule")
        if rule.get("guest_max") is None or rule["escort"] != "required" or rule["weaker"]:
            raise ValueError("its rule takes no guests")
        if statement["vendor"] not in rule["vendors"] or statement["role"] not in rule["roles"]:
            raise ValueError("its rule is not for this vendor")
        if "targets" in rule["reach"] and statement["target"] not in rule["reach"]["targets"]:
            raise ValueError("its rule does not reach this target")
        until = instant(statement["until"])
        if not entry.time - SLEW < until <= entry.time + min(rule["guest_max"], GUEST_MAX) * 1_000_000_000:
            raise ValueError("the visit is longer than its rule gives, or a night, or over")
        if self.contracts.get(statement["vendor"], 0) < until:
            raise ValueError("the vendor's contract does not run for so long")
        if self.telephones.get(statement["vendor"]) != statement["telephone"]:
            raise ValueError("the vendor was called back on another number than the registered one")
        for guest, other in self.guests.items():
            is_here = guest not in self.gone and entry.time < instant(other["until"])
            if is_here and self.rules_of_guests[guest] == rule["id"]:
                raise ValueError("two guests were invited under one rule at a time")
        if statement["guest"] in self.guests or (person in self.people and person not in self.visits):
            raise ValueError("somebody was made a guest who is somebody here")
        if person in self.visits and self.visits[person] not in self.gone:
            raise ValueError("a guest was invited again before their visit was over")
        if person in self.visits and self.guests[self.visits[person]]["vendor"] != statement["vendor"]:
            raise ValueError("a guest of one vendor was invited as another's")
        if person in self.put_out:
            raise ValueError("somebody was made a guest who had been put out")
        self.guests[statement["guest"]] = statement
        self.visits[person] = statement["guest"]
        self.rules_of_guests[statement["guest"]] = rule["id"]
        self.people[person] = Person({"kind": "technician", "vendor": statement["vendor"]}, [])
        self._goes_out(event["link"], Link(person, until, statement["operator"]))

    def _guest_ended(self, entry: Entry, event: dict) -> None:
        statement = self.guests[event["guest"]]
        if statement["person"] != event["person"]:
            raise ValueError("another guest's visit ended")
        if event.get("by") is None and entry.time < instant(statement["until"]):
            raise ValueError("a guest's visit ended by itself before its time")
        if event.get("by"):
            by = self.people[event["by"]]
            if not by.counts or by.kind["kind"] not in ("operator", "administrator"):
                raise ValueError("a guest was sent away by somebody who does not count")
            if event["guest"] in self.gone or instant(statement["until"]) <= entry.time:
                raise ValueError("a guest was sent away whose visit was over")
        self.gone.setdefault(event["guest"], entry.time)
        self._void(lambda link: link.person == event["person"])
        self.people[event["person"]].counts = False

    def _guest(self, person: str) -> dict | None:
        return self.guests[self.visits[person]] if person in self.visits else None

    def _asked_by_guest(self, request: dict, rule: dict) -> None:
        guest = self._guest(request["technician"])
        if guest is None:
            return
        if guest["guest"] in self.gone:
            raise ValueError("a guest asked after their visit")
        if request["target"] != guest["target"] or rule["id"] != self.rules_of_guests[guest["guest"]]:
            raise ValueError("a guest asked for another target, or under another rule")
        if rule["escort"] != "required" or rule.get("guest_max") is None or request["emergency"]:
            raise ValueError("a guest asked under a rule that takes none")
        if instant(guest["until"]) < instant(request["window"]["until"]):
            raise ValueError("a guest asked for longer than their visit has")
        self.asked_on[request["id"]] = guest["guest"]

    def _began_by_guest(self, entry: Entry, event: dict, deadline: int) -> None:
        guest = self._guest(event["technician"])
        if self.asked_on.get(event["request"]) != (guest and guest["guest"]):
            raise ValueError("somebody began under a grant of another visit")
        if guest and (guest["guest"] in self.gone or not entry.time - SLEW < instant(guest["until"]) >= deadline):
            raise ValueError("a guest began after their visit, or for longer than it has")

    def _looked_back_at(self, entry: Entry, event: dict) -> None:
        guest, by = event["guest"], event["by"]
        visit = self.guests[guest]
        is_own = visit["operator"] == by or self.people[by].kind.get("vendor") == visit["vendor"]
        if self.look_back != ("guest", guest, by, event.get("objection")) or is_own:
            raise ValueError("nobody else than who invited signed that they looked back at it, so")
        if guest in self.looked_back or (guest not in self.gone and entry.time < instant(visit["until"])):
            raise ValueError("somebody looked back at a visit that went on, or twice")
        self.looked_back.add(guest)

    def _reviewed(self, event: dict) -> None:
        """Somebody else than who gave an emergency grant looked back at it, once (docs/EVENTS.md, "Verdicts")."""
        request, by = event["request"], event["by"]
        case = self.cases[request]
        is_own = by in case.yes or self.people[by].kind.get("vendor") == self.people[case.about["technician"]].kind["vendor"]
        # Before objections had a place of their own, the signed answer beside it was the only one.
        why = self.look_back[3] if self.look_back else None
        if self.look_back != ("review", request, by, event.get("objection", why)) or is_own:
            raise ValueError("nobody else than who gave it signed that they looked back at it, so")
        if not case.is_emergency or request not in self.given or request in self.looked_back:
            raise ValueError("somebody looked back at what was no emergency grant, or twice")
        self.looked_back.add(request)

    def _accounted(self, entry: Entry, event: dict) -> None:
        """The technician whose grant it is, who was at work, so often and so soon (docs/EVENTS.md, "Afterwards")."""
        request = event["request"]
        if self.cases[request].about["technician"] != event["by"]:
            raise ValueError("somebody else than the technician said what they did")
        sessions = self.sessions_of.get(request, [])
        if request in self.closed_out or not sessions:
            raise ValueError("it was said of a grant that nobody used, or that was closed out")
        over = [self.ended[name][0].time for name in sessions if name in self.ended]
        if max([self.deadlines[request], *over]) + ACCOUNTED_WITHIN <= entry.time:
            raise ValueError("it was said long after it was over")
        self.accounted[request] = self.accounted.get(request, 0) + 1
        if self.accounted[request] > ACCOUNTS_MAX:
            raise ValueError("it was said too often")

    def _closed_out(self, entry: Entry, event: dict) -> None:
        """By an operator who does not work for that vendor, once, when nobody is at work (docs/EVENTS.md, "Afterwards")."""
        verdict, close_out = event["verdict"], event["close_out"]
        statement, request = verdict["statement"], close_out["request"]
        self._signed(entry, verdict, statement["operator"], "verdict")
        self._by_another(statement["operator"], request, set())
        digest = digest_of("close-out", [self.trust.deployment, close_out]).hex()
        wanted = (digest, "yes", {"about": "close-out", "id": request})
        if (statement["digest"], statement["answer"], statement["matter"]) != wanted or statement.get("narrowing"):
            raise ValueError("something else was answered")
        sessions = self.sessions_of.get(request, [])
        if request in self.closed_out or not sessions or not all(name in self.ended for name in sessions):
            raise ValueError("a grant was closed out that nobody used, under which somebody was at work, or twice")
        if close_out["work"] != {"sessions": len(sessions), "last": f"s_{sessions[-1]}"}:
            raise ValueError("other work was signed off than there was")
        self.closed_out.add(request)

    def _session_reviewed(self, event: dict) -> None:
        """A session that was drawn, by somebody who did not approve it, once (docs/EVENTS.md, "Afterwards")."""
        session, by = event["session"], event["by"]
        if self.look_back != ("session", session, by, event.get("findings")):
            raise ValueError("nobody signed that they reviewed it, so")
        name = session.removeprefix("s_")
        request = self.started[name][1]["request"]
        more = [self.cases[ask].yes for ask in self.asks_of.get(request, [])]
        self._by_another(by, request, set(self.cases[request].yes).union(*more))
        if session in self.looked_back or name not in self.ended or not self._is_drawn(name):
            raise ValueError("a session was reviewed that was not drawn, or twice")
        self.looked_back.add(session)

    def _is_drawn(self, name: str) -> bool:
        sample = self.cases[self.started[name][1]["request"]].rule.get("review")
        seal = self.ended[name][1]["seal"]
        if sample is None or seal is None:
            return sample is not None
        return int.from_bytes(digest_of("draw", [f"s_{name}", seal])[:8], "big") % 100 < sample["percent"]

    def _by_another(self, operator: str, request: str, doers: set[str]) -> None:
        vendor = self.people[operator].kind.get("vendor")
        if self.people[operator].kind["kind"] != "operator" or operator in doers:
            raise ValueError("it was signed by nobody who may")
        if vendor is not None and vendor == self.people[self.cases[request].about["technician"]].kind["vendor"]:
            raise ValueError("it was signed by somebody of the vendor itself")

    def _invited(self, entry: Entry, event: dict) -> None:
        """By an administrator, for a vendor with a contract. Nobody is invited who is somebody here, but for a guest who is
        gone, as a technician of the same vendor. Or by a manager (docs/EVENTS.md, "Vendors' own people")."""
        by, vendor = self.people.get(event["by"]), event.get("vendor")
        if by is not None and by.kind["kind"] == "technician":
            self._invited_by_company(entry, event)
        elif by is None or not by.counts or by.kind["kind"] != "administrator":
            raise ValueError("somebody was invited by nobody who may")
        if vendor is not None and vendor not in self.vendors:
            raise ValueError("somebody was invited for a vendor without a contract")
        person, known = event["person"], self.people.get(event["person"])
        if known:
            is_gone = self.visits.get(person) in self.gone and person not in self.put_out
            if not is_gone or (event["kind"], event.get("vendor")) != ("technician", known.kind["vendor"]):
                raise ValueError("somebody was invited who is somebody here")
            self.visits.pop(person)
        self.people[person] = Person(kind_of(event), event["groups"], invited_by=event["by"], invited_at=entry.time)
        self._goes_out(event["link"], Link(person, instant(event["expires"]), event["by"]))

    def _by_administrator(self, name: str) -> None:
        by = self.people[name]
        if not by.counts or by.kind["kind"] != "administrator":
            raise ValueError("only administrators say what managers may, and who is one")

    def _manages(self, event: dict, is_manager: bool) -> None:
        self._by_administrator(event["by"])
        person = self.people[event["person"]]
        if is_manager == person.manages:
            raise ValueError(CHANGES_NOTHING)
        if not is_manager:
            self._dismissed(event["person"])
            return
        if person.kind["kind"] != "technician" or not person.counts or event["person"] in self.visits:
            raise ValueError("somebody was made a manager who is a guest, out, never enrolled, or no technician")
        person.manages = True

    def _dismissed(self, name: str) -> None:
        self._disown(name)
        self.people[name].manages = False

    def _disown(self, name: str) -> None:
        """What a manager gave out and attested counts no longer (docs/EVENTS.md, HP1103 and HP1123)."""
        if not self.people[name].manages:
            return
        self._void(lambda link: link.by == name)
        for person in self.people.values():
            if person.attested and person.attested[0] == name:
                person.attested = None

    def _manager(self, entry: Entry, name: str) -> str:
        """The vendor of a manager who counts, is neither locked nor cut off, and whose contract runs."""
        by = self.people[name]
        if by.kind["kind"] != "technician" or not by.manages or not by.counts:
            raise ValueError("something was done to others by a technician who is no manager")
        if self.contracts.get(by.kind["vendor"], 0) <= entry.time - SLEW:
            raise ValueError("a manager did something after their vendor's contract")
        if entry.time < by.locked_until:
            raise ValueError("a manager did something while they were locked")
        cuts = {("technician", name), ("vendor", by.kind["vendor"])}
        if any(cut in cuts or cut[0] == "plant" for cut in self.kept_out.values()):
            raise ValueError("a manager did something while they were cut off")
        return by.kind["vendor"]

    def _is_by_company(self, name: str) -> bool:
        inviter = self.people.get(self.people[name].invited_by or "")
        return inviter is not None and inviter.kind["kind"] == "technician"

    def _takes_a_place(self, entry: Entry, name: str) -> bool:
        """Who is not out, and for a while who was put out before they enrolled."""
        person = self.people[name]
        is_recent = not person.keys and entry.time < person.invited_at + PLACE_TAKEN
        return self._is_by_company(name) and (name not in self.put_out or is_recent)

    def _one_more(self, entry: Entry, vendor: str, role: str, expires: str, beside: str | None) -> None:
        """Whether one more fits beside those who came by managers' invitations."""
        most, roles = self.allowed.get(vendor, (0, []))
        theirs = [name for name, one in self.people.items() if one.kind.get("vendor") == vendor and name != beside]
        here = [name for name in theirs if self._takes_a_place(entry, name)]
        if role not in roles or len(here) >= most:
            raise ValueError("a manager invited more than the plant allowed, or in another role")
        if self.contracts[vendor] < instant(expires):
            raise ValueError("a manager's code lasts beyond the vendor's contract")

    def _invited_by_company(self, entry: Entry, event: dict) -> None:
        vendor = self._manager(entry, event["by"])
        if (event["kind"], event.get("vendor"), event["groups"]) != ("technician", vendor, []):
            raise ValueError("a manager invited somebody of another company")
        if event["person"] in self.people:
            raise ValueError("a manager invited somebody who is, or was, somebody here")
        self._one_more(entry, vendor, event["role"], event["expires"], None)

    def _reinvited(self, entry: Entry, event: dict) -> None:
        self._reinvited_by_company(entry, event)
        self._void(lambda link: link.person == event["person"])
        self._goes_out(event["link"], Link(event["person"], instant(event["expires"]), event["by"]))

    def _reinvited_by_company(self, entry: Entry, event: dict) -> None:
        by, person = self.people[event["by"]], self.people[event["person"]]
        if by.kind["kind"] != "technician":
            return
        vendor = self._manager(entry, event["by"])
        if person.kind.get("vendor") != vendor or person.keys or not self._is_by_company(event["person"]):
            raise ValueError("a manager gave a code to somebody whom no manager invited, or who has enrolled")
        if event["person"] in self.put_out:
            raise ValueError("a manager gave a code to somebody who is out")
        self._one_more(entry, vendor, person.kind["role"], event["expires"], event["person"])

    def _put_out_by_company(self, entry: Entry, event: dict) -> None:
        by, person = self.people[event["by"]], self.people[event["person"]]
        if by.kind["kind"] != "technician":
            return
        if self._manager(entry, event["by"]) != person.kind.get("vendor") or person.kind["kind"] != "technician" or person.manages:
            raise ValueError("a manager put out somebody of another company, or a manager")
        if event["person"] in self.put_out:
            raise ValueError(CHANGES_NOTHING)

    def _attested(self, entry: Entry, event: dict) -> None:
        vendor, person = self._manager(entry, event["by"]), self.people[event["person"]]
        if person.kind["kind"] != "technician" or person.kind["vendor"] != vendor:
            raise ValueError("a manager attested somebody of another company")
        if event["event"] == "attestation-withdrawn":
            if person.attested is None:
                raise ValueError(CHANGES_NOTHING)
            person.attested = None
            return
        until = instant(event["until"])
        if not person.counts or until <= entry.time - SLEW or self.contracts[vendor] < until:
            raise ValueError("somebody was attested who does not count, or beyond the contract")
        person.attested = (event["by"], entry.time, until)

    def _is_attested(self, entry: Entry, request: str) -> None:
        """As the frozen rule demands (docs/EVENTS.md, "Vendors' own people")."""
        case = self.cases[request]
        within = case.rule.get("attested")
        if within is None:
            return
        _, at, until = self.people[case.about["technician"]].attested or ("", 0, 0)
        is_in_force = entry.time - SLEW < min(until, at + within * 1_000_000_000)
        if not is_in_force:
            raise ValueError("its rule demands that a manager of their company attested them, and none did")

    def _asked(self, ask: dict) -> None:
        case = self.cases[ask["request"]]
        self.cases[ask["id"]] = Case(ask, case.rule, case.is_emergency)
        self.asks_of.setdefault(ask["request"], []).append(ask["id"])

    def _voted(self, entry: Entry, verdict: dict) -> None:
        statement = verdict["statement"]
        self._signed(entry, verdict, statement["operator"], "verdict")
        self._answered(statement)

    def _voted_weaker(self, entry: Entry, statement: dict, way: str) -> None:
        """No signature: what can be checked of the gate's word (docs/EVENTS.md, "Answers without a signature")."""
        if statement["deployment"] != self.trust.deployment:
            raise ValueError("it was answered for another installation")
        self._saw(entry, statement["journal"])
        matter = statement["matter"]
        if matter["about"] not in ("request", "extension", "widening") or self.cases[matter["id"]].is_emergency:
            raise ValueError("this takes a signature")
        if way not in self.cases[matter["id"]].rule["weaker"]:
            raise ValueError("the rule lets nobody answer in this way")
        operator = statement["operator"]
        if not self.people[operator].counts or self.on_duty.get(operator, 0) <= entry.time - SLEW:
            raise ValueError("only operators on duty answer without a signature")
        self._answered(statement)
        self.weaker += 1

    def _accepted(self, entry: Entry, event: dict) -> None:
        duty = self.on_duty.get(event["by"], 0)
        if not self.people[event["by"]].counts or duty != instant(event["until"]) or duty <= entry.time - SLEW:
            raise ValueError("somebody accepted it who was not on duty until then")

    def _answered(self, statement: dict) -> None:
        if self.people[statement["operator"]].kind["kind"] != "operator":
            raise ValueError("only operators answer")
        matter = statement["matter"]
        if self._digest_of_matter(matter, statement) != statement["digest"]:
            raise ValueError("something else was answered")
        if matter["about"] in ("review", "guest", "session"):
            if statement.get("narrowing"):
                raise ValueError("something was taken away from what is over")
            self.look_back = (matter["about"], matter["id"], statement["operator"], statement.get("reason"))
            return
        if matter["about"] not in ("request", "extension", "widening"):
            raise ValueError("no such thing is asked")
        case = self.cases[matter["id"]]
        if case.about.get("request", matter["id"]) in self.closed_out:
            raise ValueError("somebody answered about a grant that was closed out")
        if statement["answer"] == "yes":
            if statement["operator"] in case.yes:
                raise ValueError("somebody answered twice")
            case.yes.append(statement["operator"])

    def _digest_of_matter(self, matter: dict, statement: dict) -> str:
        """What a verdict is about, as a digest. A yes may narrow a request, for those who answer later too."""
        if matter["about"] == "guest":
            return digest_of("guest", self.guests[matter["id"]]).hex()
        if matter["about"] == "session":
            seal = self.ended[matter["id"].removeprefix("s_")][1]["seal"]
            return digest_of("session", [self.trust.deployment, matter["id"], seal]).hex()
        case, deployment = self.cases[matter["id"]], self.trust.deployment
        if matter["about"] in ("extension", "widening"):
            return digest_of(matter["about"], [deployment, case.about]).hex()
        if matter["about"] == "request":
            case.about = narrowed(case.about, statement.get("narrowing", {}))
        return digest_of("request", {"deployment": deployment, "request": case.about}).hex()

    def _reopened(self, entry: Entry, event: dict) -> None:
        verdict, reopening = event["verdict"], event["reopening"]
        statement = verdict["statement"]
        self._signed(entry, verdict, statement["operator"], "verdict")
        digest = digest_of("reopening", [self.trust.deployment, reopening]).hex()
        if (statement["digest"], statement["answer"]) != (digest, "yes"):
            raise ValueError("something else was answered")
        self.kept_out.pop(reopening["cut"], None)

    def _restored(self, entry: Entry, event: dict) -> None:
        """An administrator and an operator sign the same, about the journal as it stands."""
        both = [event["administrator"], event["operator"]]
        for signed, kind in zip(both, ("administrator", "operator"), strict=True):
            statement = signed["statement"]
            self._signed(entry, signed, statement["signer"], "restore")
            person = self.people[statement["signer"]].kind
            if person["kind"] != kind or person.get("vendor"):
                raise ValueError(f"it was not signed by an {kind}")
            if statement["journal"]["size"] != entry.index:
                raise ValueError("it was signed over another journal")
        first, second = ({**signed["statement"], "signer": "", "nonce": "", "expires": ""} for signed in both)
        if first != second:
            raise ValueError("the two signed different things")
        if any(restore["restore"] == first["restore"] for _, restore in self.restores):
            raise ValueError("it is carried out a second time")
        for kept, lost in ((first["journal"], first["journal_lost"]), (first["records"], first["records_lost"])):
            if not lost["from"] <= min(kept["size"], lost["until"]):
                raise ValueError("it loses what it keeps")
        self.restores.append((entry, first))
        for names in (self.nodes, self.nodes_read, self.nodes_forgotten):
            names.clear()

    def _kept_or_erased(self, entry: Entry, what: str, event: dict) -> None:
        """Holds, and what they and the rule forbid (docs/EVENTS.md, "Recordings")."""
        session = event["session"]
        if what == "erased":
            self._check_time_of_erasure(entry, event)
        holds, erasers = self.holds.setdefault(session, set()), self.erasers.setdefault(session, set())
        if what == "held":
            holds.add(event["by"])
            erasers.clear()
        elif what == "released":
            holds.remove(event["of"])
        elif holds:
            raise ValueError("a recording that somebody holds was erased")
        elif event["on"] == "people":
            kinds = {kind: self.people[event[kind]].kind["kind"] for kind in ("administrator", "operator")}
            if not {event["administrator"], event["operator"]} <= erasers or any(a != b for a, b in kinds.items()):
                raise ValueError("a recording was erased that not both had signed for")
        elif event["on"] != "rule":
            raise ValueError("a recording was erased on nobody's word")

    def _check_time_of_erasure(self, entry: Entry, event: dict) -> None:
        name = event["session"].removeprefix("s_")
        rule = self.cases[self.started[name][1]["request"]].rule
        if name not in self.ended:
            raise ValueError("a recording was erased before its session had ended")
        kept = (entry.time - self.ended[name][0].time) // 1_000_000_000
        if kept < rule["retention"]:
            raise ValueError("a recording was erased that was to be kept for longer")
        if event["on"] == "rule" and not (event["rule"] == rule["id"] and kept >= rule.get("retention_max", INFINITE)):
            raise ValueError("a recording was erased by a rule that does not say so")

    def _signed(self, entry: Entry, signed: dict, signer: str, kind: str) -> None:
        """A statement under a signature, by a key of somebody who counts (docs/EVENTS.md, "Signatures")."""
        statement, person = signed["statement"], self.people[signer]
        if statement["deployment"] != self.trust.deployment:
            raise ValueError("it was signed for another installation")
        if not person.counts or signed["key"] not in person.keys:
            raise ValueError("it was signed by a key that nobody vouched for")
        self._saw(entry, statement["journal"])
        check_sshsig(signed["signature"], signed["key"], NAMESPACES[kind], digest_of(kind, statement))
        self.signatures += 1

    def _saw(self, entry: Entry, seen: dict) -> None:
        if seen["size"] > entry.index or self.log.tree.root(seen["size"]).hex() != seen["root"]:
            raise ValueError("whoever signed had seen another journal")

    def _allowed(self, name: str) -> None:
        """All that the rule demands said yes; to an emergency, one does."""
        case = self.cases[name]
        groups = [self.people[one].groups for one in case.yes]
        if not groups:
            raise ValueError("nobody said yes to it")
        for need in [] if case.is_emergency else case.rule["approvals"]:
            if sum(need["from"] in one for one in groups) < need["count"]:
                raise ValueError(f"fewer than {need['count']} of {need['from']} said yes to it")


INFINITE = 1 << 64
# Seconds that no visit of a guest is longer than.
GUEST_MAX = 12 * 3600
# Nanoseconds that somebody who was put out before they enrolled still counts among a manager's invitations.
PLACE_TAKEN = 30 * 86_400 * 1_000_000_000
# Nanoseconds that a gate's clock may stand behind the entry before (docs/EVENTS.md, "Bytes").
SLEW = 2_000_000_000
CHANGES_NOTHING = "somebody said again what stood already: a gate writes no such thing"
# Seconds between a deadline and its last byte, and between a session in the journal and its recording.
SLACK = 60
# How often a technician says what they did, and nanoseconds after it is over until when (docs/EVENTS.md, "Afterwards").
ACCOUNTS_MAX = 16
ACCOUNTED_WITHIN = 7 * 86_400 * 1_000_000_000 + SLEW
# Keys that a technician has at most (docs/EVENTS.md, HP1116).
KEYS_MAX = 4

NAMESPACES = {
    "verdict": "holdpoint-approval@v1",
    "certify": "holdpoint-certify@v1",
    "guest": "holdpoint-guest@v1",
    "plant": "holdpoint-plant@v1",
    "erase": "holdpoint-erase@v1",
    "restore": "holdpoint-restore@v1",
}


def kind_of(event: dict) -> dict:
    return {name: event[name] for name in ("kind", "vendor", "role") if name in event}


def narrowed(request: dict, narrowing: dict) -> dict:
    """A request with what a yes took away."""
    smaller = dict(request)
    smaller["duration"] = narrowing.get("duration", request["duration"])
    smaller["actions"] = narrowing.get("actions", request["actions"])
    if "from" in narrowing:
        smaller["window"] = request["window"] | {"from": narrowing["from"]}
    return smaller


# ---------------------------------------------------------------------------------------------------------------------
# The whole


def check(folder: Path, trust: Trust, identities: list[X25519PrivateKey]) -> Report:
    """Checks everything in a data folder."""
    report = Report()
    store = Store(folder)
    journal = records = told = None
    with report.looking():
        store.check_names(".", r"journal|records|cuts|state|LOCK|PART|BACKUP|RESTORING\.tmp")
    with report.looking():
        report.part = read_part(store)
    with report.looking():
        journal = read_log(store, "journal", trust, None, report)
    with report.looking():
        records = read_log(store, "records", trust, take_record, report)
    if journal:
        told = Journal(journal, trust)
        told.read(report)
        report.said.append(f"{told.signatures} signatures, {told.grants} grants, {len(told.started)} sessions")
        if told.weaker:
            word = "the gate's word alone, nothing here proves that an operator gave them"
            report.said.append(f"{told.weaker} answers without a signature: {word}")
        with report.looking():
            check_cuts(store, trust, journal.key, told.cuts)
        with report.looking():
            check_restored(told, journal, "journal", report)
    if told and records:
        with report.looking():
            check_restored(told, records, "records", report)
    if records:
        check_recordings(records, identities, told, report)
    if told and records:
        check_each_other(told, records, report)
        vouched = check_checkpointed(told, records, report)
        check_decisions(told, records, report)
        with report.looking():
            check_ends(journal, records, records.started is not None and records.started < vouched)
    return report


def read_part(store: Store) -> list[str] | None:
    """`PART` ("Folders"): which sessions were fetched; none where the folder is to be everything."""
    if not store.has("PART"):
        return None
    first, *sessions = store.bytes("PART").decode(errors="replace").removesuffix("\n").split("\n")
    if first != "holdpoint part 1" or not all(re.fullmatch("s_[0-9a-z]{26}", session) for session in sessions):
        raise Wrong("PART", 0, "it cannot be read")
    return [session.removeprefix("s_") for session in sessions]


def read_log(store: Store, name: str, trust: Trust, on_entry: Callable | None, report: Report) -> Log:
    with report.looking():
        known = r"FORMAT|LOCK|segments|checkpoint|checkpoint\.tmp|checkpoints|before-e_[0-9a-z]{26}|tile"
        store.check_names(name, known + "|sessions" * (name == "records"))
    log = Log(store, name, trust, on_entry)
    log.read()
    with report.looking():
        check_published(log, report)
    check_cosigned(log, trust, report)
    report.said.append(f"{log.key.origin}: {log.tree.size} entries, {log.frames} frames")
    if log.ending == CUT_OFF:
        raise Wrong(log.last_frame.file, log.last_frame.end, "no gate leaves a log that ends so: it was cut off")
    if log.ending == OPEN:
        report.open.append(f"{log.key.origin} was last signed at {log.anchors[-1].time}")
    return log


def check_ends(journal: Log, records: Log, of_one_boot: bool) -> None:
    """A gate signs both logs as long as it runs ("Where a log ends")."""
    ends = {journal.ending, records.ending}
    if CUT_OFF in ends or ends == {STOPPED}:
        return
    late = records if records.ending == OPEN else journal
    wrong = Wrong(late.last_frame.file, late.last_frame.end, "one log ends long before the other: it was cut off")
    if STOPPED in ends:
        raise wrong
    decided, recorded = journal.anchors[-1], records.anchors[-1]
    ahead = decided.nanoseconds - recorded.nanoseconds if of_one_boot else decided.time - recorded.time
    if ahead > recorded.due * 1_000_000_000 + LATE:
        raise wrong
    if -ahead > decided.due * 1_000_000_000 + LATE + COPYING:
        raise Wrong(journal.last_frame.file, journal.last_frame.end, wrong.what)


def check_cuts(store: Store, trust: Trust, key: LogKey, journaled: set[str]) -> None:
    """`cuts`: each line is a cut, signed by the key of the logs, or the journal has one for it ("Folders")."""
    if not store.has("cuts"):
        return
    at = 0
    for line in store.bytes("cuts").splitlines(keepends=True):
        try:
            cut = json.loads(line)
            version, signature = cut.pop("v"), bytes.fromhex(cut.pop("signature"))
            digest = digest_of("cut", {"deployment": trust.deployment, "cut": cut})
            is_signed = version == 1 and key.signed(signature, digest) and line.endswith(b"\n")
        except (ValueError, KeyError, AttributeError, TypeError):
            is_signed = False
        stands_for = crockford(sha256(line.removesuffix(b"\n"))[:16])
        if not is_signed and line != b"\n" and stands_for not in journaled:
            raise Wrong("cuts", at, "this line is no cut that the gate signed")
        at += len(line)


def check_restored(told: Journal, log: Log, part: str, report: Report) -> None:
    """A log has the names that two people gave it, and what it had signed under earlier ones ("Restored")."""
    signed = [restore for _, restore in told.restores if part == "journal" or restore["node"] == log.node]
    if log.restored != [(restore["restore"], restore[part]["size"]) for restore in signed]:
        raise Wrong(f"{log.name}/FORMAT", 0, "the log says that it was restored otherwise than two people signed")
    if part == "records":
        for restore in signed:
            size, root = restore["records"]["size"], restore["records"]["root"]
            if size > log.tree.size or log.tree.root(size).hex() != root:
                raise Wrong(f"{log.name}/FORMAT", 0, "other recordings are here than two people signed")
    for restore, (_, key) in zip(signed, log.names, strict=False):
        lost, furthest = restore[f"{part}_lost"], [restore[f"{part}_lost"]["until"]]

        def judge(path: str, size: int, is_here: bool, lost: dict = lost, furthest: list[int] = furthest) -> None:
            if not is_here and size <= lost["from"]:
                raise Wrong(path, 0, "the log signed another head than it has, and no restore loses so much")
            furthest.append(size if not is_here else 0)

        check_heads(log, f"before-{restore['restore']}", key, report, judge)
        report.restored.append(f"{key.origin}: lost from entry {lost['from']} to entry {max(furthest)}")


def gone_without_a_leaf(records: Log, told: Journal | None) -> dict[str, bool]:
    """What the journal erases and no leaf does: in a copy of a running gate, or at a restore ("What is erased")."""
    gone = {}
    for index, (what, name) in told.decisions.items() if told else ():
        if what == "erased":
            is_lost = any(index < entry.index for entry, _ in told.restores_of(records.node))
            gone[name] = is_lost or OPEN == told.log.ending == records.ending
    return gone


def check_recordings(records: Log, identities: list[X25519PrivateKey], told: Journal | None, report: Report) -> None:
    gone = gone_without_a_leaf(records, told)
    for session in records.sessions.values():
        if report.part is not None and session.name not in report.part:
            continue
        with report.looking():
            recording = Recording(records, session, identities, gone.get(session.name))
            recording.check()
            ending = session.seal.ending if session.seal else "open"
            if recording.lies_elsewhere():
                ending += ", not here"
                report.open.append(f"session s_{session.name} lies in a bucket alone, and was not looked at")
            report.said.append(f"s_{session.name} {session.opened} {ending}: {session.next_sequence} frames")
    known = {session.name for session in records.sessions.values()}
    with report.looking():
        for name in report.part or []:
            if name not in known:
                raise Wrong("PART", None, f"session s_{name} was fetched, and is not in the log")
    if records.store.has("records/sessions"):
        with report.looking():
            records.store.check_names("records/sessions", "|".join(known) or "-")


def check_each_other(told: Journal, records: Log, report: Report) -> None:
    """Sessions in one of the two logs and not in the other, and what the two say differently (docs/EVENTS.md)."""
    recorded = {session.name: session for session in records.sessions.values()}
    for name, (entry, event) in told.started.items():
        if name in recorded or event["node"] != records.node or explains(told, records.node, entry, None):
            continue
        _, ended = told.ended.get(name, (None, {}))
        if ended.get("seal") or ended.get("ending") not in ("recorder-failed", "crashed", "presumed", "target-unreachable"):
            report.wrong.append(entry.wrong(f"session s_{name} began, and was not recorded"))
    for session in recorded.values():
        with report.looking():
            check_session_told(told, records, session)


def check_checkpointed(told: Journal, records: Log, report: Report) -> int:
    """The records have come as far as the journal says ("What is published"): how far, in the journal's last run."""
    vouched = 0
    for entry, node, note in told.checkpoints:
        with report.looking():
            if node != records.node:
                continue
            try:
                restores = told.restores_of(node)
                since = [number for number, (at, _) in enumerate(restores, 1) if at.index < entry.index]
                number = since[-1] if since else 0
                key = records.names[number][1] if number < len(records.names) else records.key
                origin, size, root = parse_note(note, key)
            except (ValueError, binascii.Error) as error:
                raise entry.wrong(f"the records' head cannot be believed: {error}") from error
            if origin != key.origin:
                raise entry.wrong("it is the head of another log")
            if number < len(restores) and size > restores[number][1]["records_lost"]["from"]:
                continue
            if size > records.tree.size:
                what = f"the log once had {size} entries, and has {records.tree.size} now: it was rolled back"
                raise Wrong(records.last_frame.file, records.last_frame.end, what)
            if root != records.tree.root(size):
                raise entry.wrong(f"the first {size} entries of the records are others than the journal says")
            is_of_last_run = origin == records.key.origin and entry.index >= told.log.run_from
            vouched = max(vouched, size if is_of_last_run else 0)
    return vouched


def check_decisions(told: Journal, records: Log, report: Report) -> None:
    """What became of recordings was decided in the journal ("What is erased")."""
    size = told.log.tree.size
    for decision in records.decisions:
        with report.looking():
            if decision.index >= size and OPEN == told.log.ending == records.ending:
                continue
            if any(
                decision.entry.index < one["records"]["size"] and decision.index >= one["journal"]["size"]
                for _, one in told.restores_of(records.node)
            ):
                continue
            decided = told.decisions.get(decision.index)
            is_same = decided and told.log.entries[decision.index].hash == decision.hash
            if not is_same or decided != (decision.event, decision.session):
                raise decision.entry.wrong("the journal did not decide this")


def check_session_told(told: Journal, records: Log, session: Session) -> None:
    """A recording as the journal knows it."""
    opening = session.entry
    are_open = records.ending == told.log.ending == OPEN
    if session.name not in told.started:
        if are_open and session.metadata["journal_size"] > told.log.tree.size:
            return
        size, number = session.metadata["journal_size"], opening.index
        lost = told.restores_of(records.node)
        if any(number < one["records"]["size"] and size > one["journal"]["size"] for _, one in lost):
            return
        raise opening.wrong(f"session s_{session.name} is not in the journal")
    _, started = told.started[session.name]
    names = {"session": "session", "grant": "request", "technician": "technician", "target": "target"}
    for ours, theirs in (names | {"service": "service", "node": "node"}).items():
        if session.metadata[ours] != started[theirs]:
            raise opening.wrong(f"the {ours} of session s_{session.name} is another one in the journal")
    entry, ended = told.ended.get(session.name, (None, None))
    check_window(told, session)
    seal = session.seal
    if not seal and (ended or not are_open):
        raise opening.wrong(f"session s_{session.name} ended, and is not sealed")
    if ended and ended["seal"] not in (None, seal.entry.hash.hex()) and not explains(told, records.node, entry, seal):
        raise entry.wrong(f"session s_{session.name} has another seal than the journal says")


def check_window(told: Journal, session: Session) -> None:
    """No byte passed after a session's time was over ("Sessions")."""
    limit = told.windows.get(session.name)
    last = [block.ends for block in session.blocks if block.bytes_in or block.bytes_out]
    last += [frame.nanoseconds for frame in session.frames if frame.kind == DATA]
    if limit is not None and last and max(last) - session.nanoseconds > limit:
        raise session.entry.wrong(f"bytes passed in session s_{session.name} after its time was over")


def explains(told: Journal, node: str, entry: Entry, seal: Seal | None) -> bool:
    """Whether a recording, or its end, was lost at a restore: the journal had it before, and the records afterwards not."""
    for at, restore in told.restores_of(node):
        lost = restore["records_lost"]
        is_lost = entry.index < at.index and lost["until"] > lost["from"]
        if is_lost and (seal is None or seal.entry.index >= restore["records"]["size"]):
            return True
    return False


def show(report: Report) -> str:
    """What a person reads."""
    words = {
        "whole": "WHOLE: nothing was altered, dropped or reordered",
        "open": "OPEN: nothing is wrong. " + "; ".join(report.open),
        "part": "WHOLE AS FAR AS IT GOES: the journal and the sessions that PART names",
        "not-witnessed": "NOT WITNESSED: no witness who is trusted has seen any of " + " and of ".join(report.not_witnessed),
        "restored": "RESTORED: nothing is wrong but what two people signed as lost. " + "; ".join(report.restored),
        "not-whole": f"NOT WHOLE. First: {report.wrong[0]}" if report.wrong else "",
    }
    return "\n".join([*report.said, *map(str, report.wrong), words[report.verdict()]])


def as_json(report: Report) -> str:
    findings = [{"file": wrong.file, "at": wrong.at, "what": wrong.what} for wrong in report.wrong]
    return json.dumps({"verdict": report.verdict(), "findings": findings, "open": report.open, "said": report.said})


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Checks a data folder of Holdpoint, without Holdpoint.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trust", type=Path, default=Path("trust.toml"), help="what the auditor trusts")
    parser.add_argument("--identity", type=Path, help="an auditor's key, as age-keygen writes it")
    parser.add_argument("--json", action="store_true", help="for machines")
    given = parser.parse_args(arguments)
    try:
        identities = read_identities(given.identity) if given.identity else []
        report = check(given.folder, Trust.read(given.trust), identities)
    except Misused as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"could not look: {error}", file=sys.stderr)
        return 3
    print(as_json(report) if given.json else show(report))
    return EXIT_CODES[report.verdict()]


if __name__ == "__main__":
    sys.exit(main())
