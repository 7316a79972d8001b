"""Collections: their items, and adding one."""

from tests.loopback.exchange import Answer, Exchange, Refusal, json_answer
from tests.loopback.repository import Json, short_id, timestamp


def get_collection(exchange: Exchange, slug: str) -> Answer:
    """A collection with its items."""
    return json_answer(_described(exchange, slug))


def add_item(exchange: Exchange, slug: str) -> Answer:
    """Append an item; one that is in the collection is refused with 409."""
    account = exchange.account(write=True)
    items = _items(exchange, slug)
    if not account.owns(slug):
        raise Refusal(403, f"You don't have the rights to write to {slug}")
    item = exchange.payload["item"]
    exchange.repository(f"{item['type']}s", item["id"])
    if item in items:
        raise Refusal(409, "Item already in collection")
    items.append(item)
    return json_answer(_described(exchange, slug))


def _items(exchange: Exchange, slug: str) -> list[Json]:
    items = exchange.hub.collections.get(slug)
    if items is None:
        raise Refusal(404, "Collection not found")
    return items


def _described(exchange: Exchange, slug: str) -> Json:
    items = [
        {"_id": short_id(f"{slug}/{number}"), "position": number, **item}
        for number, item in enumerate(_items(exchange, slug))
    ]
    return {
        "slug": slug,
        "title": slug.split("/")[1],
        "owner": {"name": slug.split("/")[0], "type": "user"},
        "items": items,
        "lastUpdated": timestamp(),
        "position": 0,
        "private": False,
        "theme": "blue",
        "upvotes": 0,
    }
