"""Tokens: who may ask, kept as hashes."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from hosting.storage.database import lock
from hosting.storage.tables import PredictionRow, Token, Upload

LOCAL = "local"
"""The id and the name of whoever is on this machine, as long as no token was ever made."""


class TokenError(ValueError):
    """A sentence for the person at the command line."""


def create(session: Session, name: str) -> str:
    """Make a token; return its text, which is stored nowhere.

    Raises:
        TokenError: when there is one of the name.
    """
    if not name.strip() or name == LOCAL:
        raise TokenError(f"{name!r} can't be a token's name; give another")
    lock(session, "tokens")
    if session.scalar(select(Token).where(Token.name == name)):
        raise TokenError(f"there is a token {name} already, or was; give another name")
    text = f"sd_{secrets.token_urlsafe(32)}"
    session.add(Token(name=name, hash=_hash(text), webhook_secret=_new_webhook_secret()))
    return text


def prepare(session: Session) -> None:
    """Make the token that stands for whoever is on this machine. `find` needs it."""
    lock(session, "tokens")
    if session.get(Token, LOCAL) is None:
        session.add(Token(id=LOCAL, name=LOCAL, webhook_secret=_new_webhook_secret()))


def revoke(session: Session, name: str) -> None:
    """Revoke a token from now on.

    Raises:
        TokenError: when there is none of the name.
    """
    token = _named(session, name)
    token.revoked_at = token.revoked_at or time.time()


def limit(session: Session, name: str, weight: float | None, limits: Mapping[str, Any]) -> None:
    """Change the weight of a token, and some of its own limits, from now on.

    Args:
        weight: from LEAST_WEIGHT to MOST_WEIGHT of `fair_queueing`; None leaves it as it is.
        limits: as `TokenLimits.of` reads them; None is as the settings have it.

    Raises:
        TokenError: when there is none of the name.
    """
    token = _named(session, name)
    changed = {**token.limits, **limits}
    token.limits = {field: value for field, value in changed.items() if value is not None}
    if weight is not None:
        token.weight = weight


def all_tokens(session: Session) -> list[Token]:
    """Every token that was made, also those revoked, by age."""
    by_age = select(Token).where(Token.hash.is_not(None)).order_by(Token.created_at)
    return list(session.scalars(by_age))


def are_needed(session: Session) -> bool:
    """Return whether one was ever made: revoking the last does not open the front."""
    return session.scalar(select(Token.id).where(Token.hash.is_not(None)).limit(1)) is not None


def find(session: Session, text: str | None) -> Token | None:
    """Return the token of a text; as long as none was ever made, the local one."""
    if not are_needed(session):
        return session.get(Token, LOCAL)
    if text is None:
        return None
    known = Token.hash == _hash(text)
    return session.scalar(select(Token).where(known, Token.revoked_at.is_(None)))


def is_valid(session: Session, token_id: str) -> bool:
    """Return whether whoever was let in by a token would be now."""
    if token_id == LOCAL:
        return not are_needed(session)
    known = select(Token.id).where(Token.id == token_id, Token.revoked_at.is_(None))
    return session.scalar(known) is not None


def is_owner_gone(session: Session, path: str) -> bool:
    """Return whether a file's upload or prediction was removed, or its token revoked.

    Then its links end too, though the file may still be there.

    Args:
        path: such as `uploads/<id>`, `predictions/<id>` or a file in that folder.
    """
    kind, _, rest = path.partition("/")
    owned = Upload if kind == "uploads" else PredictionRow
    owner = select(Token.id).join(owned, owned.token_id == Token.id)
    is_it = owned.id == rest.partition("/")[0]
    return session.scalar(owner.where(is_it, Token.revoked_at.is_(None))) is None


def _named(session: Session, name: str) -> Token:
    """Return the token of a name that somebody has made."""
    token = session.scalar(select(Token).where(Token.name == name, Token.hash.is_not(None)))
    if token is None:
        raise TokenError(f"there is no token {name}")
    return token


def _hash(text: str) -> str:
    # A token is 256 random bits: nobody finds it by trying, so that a fast hash will do.
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _new_webhook_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
