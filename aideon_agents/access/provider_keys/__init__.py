"""The keys of providers in the ledger: the system's, and those of users for their own calls.

They are sealed (see `sealing`). A row that cannot be opened says that its key needs to be entered again,
and all others work. Calls with a user's own key use none of what the service grants, so such a run asks
only providers that the user has a key of, unless the user lets it fall back to the system's keys.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import SecretStr

from aideon_agents.access import audit, flags
from aideon_agents.access.audit import By
from aideon_agents.access.provider_keys import rotation, sealing
from aideon_agents.access.provider_keys.stored import (
    ENTER_AGAIN,
    ROWS,
    SYSTEM,
    active,
    document,
    opened,
    place,
)
from aideon_agents.errors import Conflict, InputError, NotAllowed, NotFound, UserError, shown
from aideon_agents.ledger.identity import new_run_id, now, utc_text
from aideon_agents.ledger.redaction import keep_out
from aideon_agents.settings.providers import sendable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aideon_agents.access.callers import Caller
    from aideon_agents.ledger.database import Row, Statements
    from aideon_agents.ledger.rows import KeySource
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.settings import Settings

_CANARY = "canary"
"""The owner of the row that shows whether a ring belongs to a ledger."""
KeysUsed: TypeAlias = "dict[str, tuple[str | None, KeySource]]"
"""By provider: the id of the stored key that a run uses, and whose it is."""
_SHORTEST, _FEWEST = 12, 6
"""Characters of a key, and different ones among them: what has fewer is a placeholder."""
_WORDS = ("your", "changeme", "change-me", "change_me", "example", "placeholder", "xxxx", "api_key")
"""What is in placeholders of documents, in small letters, and in no key."""


@dataclasses.dataclass(frozen=True)
class ProviderKeys:
    """The stored keys of one ledger, with the ring that opens them."""

    ledger: Ledger
    settings: Settings
    ring: Mapping[str, bytes]
    """The keys of the ring by id, the one in use first; empty: there is no ring."""

    def store(
        self, user: str | None, provider: str, secret: str, by: By, *, may_fall_back: bool = False
    ) -> dict[str, Any]:
        """Store a key of a user, or with None of the system, in place of the one that there is.

        `may_fall_back`: the user's runs may use the system's keys as well.
        """
        owner = owner_of(user)
        row = self._new_row(owner, provider, secret, by)
        row |= {"share": 100, "may_fall_back": may_fall_back}
        with self.ledger.database.transaction() as tx:
            if user and not tx.select(_USER, {"user": user}):
                raise NotFound(f"there is no user {shown(user)}: `aideon users list` shows them")
            before = [one["row_id"] for one in active(tx, owner, provider)]
            _retire(tx, owner, provider)
            tx.write(_ADD, row)
            was = {"key_id": ", ".join(before)} if before else None
            about = f"{owner}:{provider}"
            audit.record(tx, by, "provider_key.set", about, before=was, after=_audited(row))
        return document({**row, **_UNKNOWN}, self.ring)

    def rotate(self, provider: str, secret: str, by: By) -> dict[str, Any]:
        """Begin to replace the system's key of a provider: the new one is used for a tenth of the runs.

        Without another key, stored or in the environment, it is used for all.
        """
        row = self._new_row(SYSTEM, provider, secret, by)
        with self.ledger.database.transaction() as tx:
            known = active(tx, SYSTEM, provider)
            if rotation.is_under_way(known):
                why = "is under way: finish it first, or take it back"
                raise Conflict(f"a rotation of {provider} {why}")
            for one in known:
                values = {"row_id": one["row_id"], "at": row["created_at"], "share": 90}
                tx.write(_REST if one["share"] else rotation.RETIRE, values)
            of_environment = self.settings.key_of(self.settings.rows[provider])[1]
            has_other = any(one["share"] for one in known) or of_environment
            row |= {"share": rotation.STEPS[0] if has_other else 100, "may_fall_back": False}
            tx.write(_ADD, row)
            about = f"{SYSTEM}:{provider}"
            audit.record(tx, by, "provider_key.rotation", about, after=_audited(row))
        return document({**row, **_UNKNOWN}, self.ring)

    def turn(self, provider: str, to: Literal["next", "back"], by: By) -> None:
        """Take the next step of the rotation of a system key, or take the rotation back."""
        rotation.turned(self.ledger, self._system(provider), to, by)

    def rotation(self, provider: str) -> dict[str, Any]:
        """How far the rotation of a system key is."""
        return rotation.state(self.ledger, self._system(provider), self.ring)

    def _system(self, provider: str) -> list[Row]:
        if rows := active(self.ledger, SYSTEM, provider):
            return rows
        raise NotFound(f"the system has no stored key of {shown(provider)}")

    def remove(self, user: str | None, provider: str, by: By) -> None:
        """Remove the keys that a user, or with None the system, has; what is sealed is erased."""
        owner = owner_of(user)
        with self.ledger.database.transaction() as tx:
            if not _retire(tx, owner, provider):
                raise NotFound(f"there is no key of {shown(provider)} to remove")
            audit.record(tx, by, "provider_key.removed", f"{owner}:{provider}")

    def listed(self, *owners: str | None) -> list[dict[str, Any]]:
        """The stored keys of some users (None: the system), or of all, without secrets."""
        only = [owner_of(one) for one in owners]
        rows = self.ledger.select(
            f"{ROWS} WHERE retired_at IS NULL ORDER BY owner, provider, created_at", {}
        )
        return [
            document(row, self.ring)
            for row in rows
            if row["owner"] != _CANARY and (not only or row["owner"] in only)
        ]

    def secret_of(self, user: str | None, provider: str) -> tuple[str, str]:
        """The id of the newest key of a user, or with None of the system, and the key, to prove it."""
        rows = active(self.ledger, owner_of(user), provider)
        if not rows:
            raise NotFound(f"there is no key of {shown(provider)} to prove: store one first")
        if not self.ring:
            raise Conflict(sealing.NO_RING)
        if (secret := opened(self.ring, rows[0])) is None:
            raise UserError(f"the key of {provider} {ENTER_AGAIN}: the ring does not open it")
        return rows[0]["row_id"], secret

    def proven(self, row_id: str, by: By, *, works: bool) -> None:
        """Record that a call has proven a key, or that the provider has rejected it."""
        with self.ledger.database.transaction() as tx:
            values = {"row_id": row_id, "at": utc_text(now())}
            tx.write(_PROVEN if works else _REFUSED, values)
            audit.record(tx, by, f"provider_key.{'proven' if works else 'rejected'}", row_id)

    def settings_for(self, caller: Caller, run_id: str) -> tuple[Settings, KeysUsed]:
        """The settings of a caller's run with its keys; and which keys these are, and whose.

        Where the system's key cannot be opened, the environment's is used; where the user's cannot,
        the provider has none.
        """
        owner = owner_of(caller.user)
        rows = self.ledger.select(_OF_RUN, {"owner": owner})
        own = {row["provider"]: row for row in rows if row["owner"] == owner}
        if own and not are_own_allowed(self.ledger, caller.user):
            own = {}
        if own and not any(opened(self.ring, row) for row in own.values()):
            why = f"the keys that you stored ({', '.join(own)}) {ENTER_AGAIN}"
            raise UserError(why if self.ring else sealing.NO_RING)
        keys: dict[str, SecretStr | None] = {}
        used: KeysUsed = {}
        if own and not all(row["may_fall_back"] for row in own.values()):
            keys = dict.fromkeys(with_keys(self.settings), None)
        elif own:
            used = dict.fromkeys(with_keys(self.settings), (None, "system"))
        for provider in {row["provider"] for row in rows if row["owner"] == SYSTEM} - keys.keys():
            mine = [row for row in rows if (row["owner"], row["provider"]) == (SYSTEM, provider)]
            mine = rotation.judged(self.ledger, mine, By("service", ring=self.ring))
            row = rotation.chosen(mine, place_of(run_id))
            if row and (secret := opened(self.ring, row)):
                keys[provider], used[provider] = _kept(secret), (row["row_id"], "system")
        for provider, row in own.items():
            secret = opened(self.ring, row)
            keys[provider] = None if secret is None else _kept(secret)
            used[provider] = row["row_id"], "user"
        return self.settings.with_keys(keys, own) if keys else self.settings, used

    def check_ring(self) -> None:
        """Refuse a ring that does not open what this ledger was sealed with; called at the start."""
        if not self.ring:
            return
        found = self.ledger.select(f"{ROWS} WHERE owner = :owner", {"owner": _CANARY})
        if found and opened(self.ring, found[0]) is None:
            raise UserError(
                f"AIDEON_KEY_RING does not open what this ledger was sealed with (the key"
                f" {found[0]['ring_id']}): add that key to the end of the ring"
            )
        if not found:
            with self.ledger.database.transaction() as tx:
                if not tx.select(f"{ROWS} WHERE owner = :owner", {"owner": _CANARY}):
                    row = _sealed_row(self.ring, _CANARY, "none", _CANARY, "service")
                    tx.write(_ADD, {**row, "share": 0, "may_fall_back": False})

    def reseal(self, by: By) -> dict[str, Any]:
        """Seal every row with the first key of the ring, one by one; again it continues where it stopped.

        Returns how many rows were sealed again, the ids of those that cannot be opened, and the keys of the
        ring that no row needs any more.
        """
        if not self.ring:
            raise Conflict(sealing.NO_RING)
        first, done, lost = next(iter(self.ring)), 0, list[str]()
        others = f"{ROWS} WHERE retired_at IS NULL AND ring_id <> :first"
        for seen in self.ledger.select(others, {"first": first}):
            sealed = sealing.resealed(self.ring, place(seen), seen)
            if sealed is None:
                lost.append(seen["row_id"])
                continue
            values = {**sealed._asdict(), "row_id": seen["row_id"], "was": seen["sealed"]}
            done += self.ledger.database.write(_RESEAL, values)
        left = self.ledger.select(f"{ROWS} WHERE retired_at IS NULL", {})
        needed = {row["ring_id"] for row in left}
        after = {"rows": done, "lost": len(lost)}
        with self.ledger.database.transaction() as tx:
            audit.record(tx, by, "provider_key.resealed", first, after=after)
        return {
            "resealed": done,
            "unreadable": lost,
            "unneeded": [one for one in self.ring if one not in needed],
        }

    def _new_row(self, owner: str, provider: str, secret: str, by: By) -> dict[str, Any]:
        return _sealed_row(self.ring, owner, provider, self.checked(provider, secret), by.actor)

    def checked(self, provider: str, secret: str) -> str:
        """A key as it can be stored. Errors do not repeat it."""
        rows = self.settings.rows
        row = rows.get(provider)
        if row is None or not row.key_env:
            what = f"there is no provider {shown(provider)} that takes a key"
            raise InputError(f"{what}: write one of {', '.join(with_keys(self.settings))}")
        secret = secret.strip()
        try:
            sendable(SecretStr(secret))
        except ValueError as wrong:
            raise InputError(f"the key of {provider} {wrong}") from None
        is_short = len(secret) < _SHORTEST or len(set(secret)) < _FEWEST
        is_word = any(word in secret.lower() for word in _WORDS)
        if is_short or is_word or any(map(str.isspace, secret)):
            what = f"this is no key of {provider}, but a placeholder"
            raise InputError(f"{what}: give the key itself")
        keep_out(secret)
        return secret


def are_own_allowed(ledger: Ledger, user: str) -> bool:
    """Whether users may store keys of their own: an administrator switches it on."""
    return flags.is_on(ledger, "user_provider_keys", user)


def has_own_key(ledger: Ledger, user: str, provider: str) -> bool:
    """Whether a user has a key of a provider, which opens all its models whatever the tier."""
    return bool(active(ledger, owner_of(user), provider)) and are_own_allowed(ledger, user)


def check_allowed(ledger: Ledger, user: str) -> None:
    """Raise NotAllowed where users may not store keys of their own."""
    if not are_own_allowed(ledger, user):
        how = "an administrator allows it with `aideon flags set user_provider_keys on`"
        raise NotAllowed(f"users may not store keys of their own here: {how}")


def with_keys(settings: Settings) -> list[str]:
    """The providers and deployments that take a key."""
    return [name for name, row in settings.rows.items() if row.key_env]


def owner_of(user: str | None) -> str:
    """The owner of a user's keys; None: of the system's."""
    return SYSTEM if user is None else f"user:{user}"


def place_of(run_id: str) -> int:
    """Where a run is among 100, the same each time, so that a run stays with one key."""
    return int.from_bytes(hashlib.sha256(run_id.encode()).digest()) % 100


def _retire(tx: Statements, owner: str, provider: str) -> int:
    return tx.write(_RETIRE, {"owner": owner, "provider": provider, "at": utc_text(now())})


def _sealed_row(
    ring: Mapping[str, bytes], owner: str, provider: str, secret: str, actor: str
) -> dict[str, Any]:
    at = utc_text(now())
    row_id = f"pk_{new_run_id().lower()}"  # in the order of their making
    row: dict[str, Any] = {"row_id": row_id, "owner": owner, "provider": provider}
    row |= sealing.seal(ring, place(row), secret)._asdict()
    row |= {"last4": secret[-4:], "created_by": actor, "created_at": at, "share_since": at}
    return row


def _kept(secret: str) -> SecretStr:
    keep_out(secret)
    return SecretStr(secret)


def _audited(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"key_id": row["row_id"], "last4": row["last4"], "share": row["share"]}


_USER = "SELECT user_id FROM users WHERE user_id = :user"
_REST = "UPDATE provider_keys SET share = :share, share_since = :at WHERE row_id = :row_id"
_PROVEN = "UPDATE provider_keys SET proven_at = :at, refused_at = NULL WHERE row_id = :row_id"
_REFUSED = "UPDATE provider_keys SET refused_at = :at WHERE row_id = :row_id"
_UNKNOWN = {"proven_at": None, "refused_at": None}
_OF_RUN = (
    f"{ROWS} WHERE retired_at IS NULL AND owner IN ('system', :owner)"
    " ORDER BY created_at DESC, row_id DESC"
)
_ADD = (
    "INSERT INTO provider_keys (row_id, owner, provider, share, ring_id, wrapped, sealed, last4,"
    " may_fall_back, created_by, created_at, share_since) VALUES (:row_id, :owner, :provider,"
    " :share, :ring_id, :wrapped, :sealed, :last4, :may_fall_back, :created_by, :created_at,"
    " :share_since)"
)
_RETIRE = (
    "UPDATE provider_keys SET retired_at = :at, wrapped = '', sealed = '', share = 0"
    " WHERE owner = :owner AND provider = :provider AND retired_at IS NULL"
)
_RESEAL = (
    "UPDATE provider_keys SET ring_id = :ring_id, wrapped = :wrapped, sealed = :sealed"
    " WHERE row_id = :row_id AND sealed = :was"
)
