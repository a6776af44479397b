"""Routes for collections: create, list, read, rename, delete, and what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from starlette.responses import JSONResponse, Response

from pipeline.hub.local.access import require
from pipeline.hub.local.collections import Collection, Item, ItemType, Theme, collection_not_found, new_id
from pipeline.hub.local.pages import page_of
from pipeline.hub.local.records import now
from pipeline.hub.local.refusals import RefusedError, bad_request, conflict
from pipeline.hub.local.web import Call, may_see

_TITLE, _DESCRIPTION, _NOTE, _ITEM_ID = 60, 150, 500, 200  # characters at most
_ITEMS = 1000
_ITEMS_LISTED = 4  # of each collection in a list of them, as on the Hub


def create(call: Call) -> Response:
    """Create a collection; a second one of the same title is a conflict whose body carries the first one's slug."""
    wanted = call.json()
    owner = call.caller.name if wanted.get("namespace") is None else call.text("namespace")
    _require_writer(call, owner)
    made = Collection(id=new_id(), owner=owner, title="", updated=now())
    _describe(made, {"title": "", **wanted})
    call.hub.store.collections.create(made)
    return JSONResponse(told(call, made))


def listed(call: Call) -> Response:
    """List what the caller may see, latest change first, by ``owner`` and by an ``item`` such as ``models/ns/name``."""
    owners, items = call.query.getlist("owner"), set(call.query.getlist("item"))
    rows = [told(call, collection) for collection in visible(call) if not owners or collection.owner in owners]
    rows = [row for row in rows if not items or items & {f"{item['type']}s/{item['id']}" for item in row["items"]}]
    rows.sort(key=lambda row: str(row["lastUpdated"]), reverse=True)
    page, headers = page_of(call, rows, call.hub.limits.page)
    for row in page:
        del row["position"]  # the client numbers a list itself
        del row["items"][_ITEMS_LISTED:]
    return JSONResponse(page, headers=headers)


def read(call: Call) -> Response:
    """Tell everything of a collection."""
    return JSONResponse(told(call, found_in(call)))


def change(call: Call) -> Response:
    """Change title, description, theme, position or who sees it."""
    _require_writer(call, found_in(call).owner)
    with call.hub.store.collections.changing(_slug(call)) as collection:
        _describe(collection, call.json())
    return JSONResponse({"success": True, "data": told(call, collection)})


def delete(call: Call) -> Response:
    """Delete a collection."""
    _require_writer(call, found_in(call).owner)
    call.hub.store.collections.delete(_slug(call))
    return JSONResponse({"success": True})


def add_item(call: Call) -> Response:
    """Add something that exists and that the caller sees; twice is a conflict."""
    _require_writer(call, found_in(call).owner)
    item = _wanted_item(call)
    with call.hub.store.collections.changing(_slug(call)) as collection:
        if any((other.type, other.of) == (item.type, item.of) for other in collection.items):
            raise conflict("This is in the collection already.", slug=collection.slug)
        if len(collection.items) >= _ITEMS:
            raise bad_request(f"A collection has at most {_ITEMS} items.")
        collection.items.append(item)
    return JSONResponse(told(call, collection))


def change_item(call: Call) -> Response:
    """Change an item's note or position."""
    _require_writer(call, found_in(call).owner)
    wanted = call.json()
    with call.hub.store.collections.changing(_slug(call)) as collection:
        item = _item_of(call, collection)
        if "note" in wanted:
            item.note = _text(wanted, "note", _NOTE)
        if "position" in wanted:
            position = _number(wanted, "position")
            collection.items.remove(item)
            collection.items.insert(max(position, 0), item)
    return JSONResponse({"success": True})


def delete_item(call: Call) -> Response:
    """Take an item out."""
    _require_writer(call, found_in(call).owner)
    with call.hub.store.collections.changing(_slug(call)) as collection:
        collection.items.remove(_item_of(call, collection))
    return JSONResponse({"success": True})


def visible(call: Call) -> Iterator[Collection]:
    """Walk the collections that the caller may see."""
    return (collection for collection in call.hub.store.collections.all() if _may_see(call, collection))


def found_in(call: Call) -> Collection:
    """Return the collection of the address, if the caller may know of it."""
    collection = call.hub.store.collections.find(_slug(call))
    if not _may_see(call, collection):
        raise collection_not_found()
    return collection


def told(call: Call, collection: Collection) -> dict[str, Any]:
    """Return a collection as the client reads it, without what the caller must not know of."""
    items = []
    for position, item in enumerate(collection.items):
        if (shown := name_of(call, item)) is not None:
            row = {"_id": item.id, "id": shown, "type": item.type, "position": position}
            items.append(row | ({"note": {"text": item.note}} if item.note else {}))
    return {
        "slug": collection.slug,
        "title": collection.title,
        "description": collection.description,
        "owner": {"name": collection.owner, "fullname": collection.owner},
        "private": collection.private,
        "theme": collection.theme,
        "upvotes": 0,
        "position": collection.position,
        "lastUpdated": collection.updated,
        "items": items,
    }


def name_of(call: Call, item: Item) -> str | None:
    """Return what an item is called now; nothing when it is gone or the caller must not know of it."""
    try:
        if item.type == "collection":
            other = call.hub.store.collections.find(item.of)
            return other.slug if _may_see(call, other) else None
        if item.type == "paper":
            return item.of
        return item.of if may_see(call.caller, call.hub.store.find(f"{item.type}s", item.of)) else None
    except RefusedError:
        return None


def _wanted_item(call: Call) -> Item:
    wanted = call.json().get("item")
    if not isinstance(wanted, dict) or wanted.get("type") not in get_args(ItemType):
        raise bad_request(f"'item' needs 'id' and 'type'; a type is one of {', '.join(get_args(ItemType))}.")
    note = _text(call.json(), "note", _NOTE) if call.json().get("note") is not None else None
    item = Item(id=new_id(), type=wanted["type"], of=_text(wanted, "id", _ITEM_ID), note=note)
    if item.type in {"model", "dataset", "space"} and item.of.count("/") != 1:
        raise bad_request(f"{item.of!r} is not a repository id.")
    if name_of(call, item) is None:
        raise RefusedError(404, "RepoNotFound", f"There is no {item.type} {item.of!r}.")
    return item


def _describe(collection: Collection, wanted: dict[str, Any]) -> None:
    if "title" in wanted:
        collection.title = _text(wanted, "title", _TITLE)
        if not collection.title:
            raise bad_request("A collection needs a title.")
    if "description" in wanted:
        collection.description = _text(wanted, "description", _DESCRIPTION) or None
    if "position" in wanted:
        collection.position = _number(wanted, "position")
    if (theme := wanted.get("theme", collection.theme)) not in get_args(Theme):
        raise bad_request(f"A theme is one of {', '.join(get_args(Theme))}.")
    collection.theme = theme
    if not isinstance(private := wanted.get("private", collection.private), bool):
        raise bad_request("'private' has to be true or false.")
    collection.private = private


def _item_of(call: Call, collection: Collection) -> Item:
    for item in collection.items:
        if item.id == call.where["item"]:
            return item
    raise RefusedError(404, "ItemNotFound", "This is not in the collection.")


def _may_see(call: Call, collection: Collection) -> bool:
    caller, owner = call.caller, collection.owner
    return not collection.private or caller.may("collection.read", owner) or caller.may("collection.write", owner)


def _require_writer(call: Call, owner: str) -> None:
    require(call.caller, call.caller.may("collection.write", owner), f"change the collections of {owner!r}")


def _slug(call: Call) -> str:
    return f"{call.where['ns']}/{call.where['slug']}"


def _text(wanted: dict[str, Any], name: str, most: int) -> str:
    value = wanted.get(name)
    if not isinstance(value, str) or len(value.strip()) > most:
        raise bad_request(f"{name!r} has to be a text of at most {most} characters.")
    return value.strip()


def _number(wanted: dict[str, Any], name: str) -> int:
    value = wanted.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > 1 << 31:
        raise bad_request(f"{name!r} has to be a number.")
    return value
