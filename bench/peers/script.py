"""The script that everyone writes first: aiohttp, a semaphore, gather, pandas.

After aiohttp's client quickstart and pandas' "json_normalize" page: one session, 64 at a time, all answers in memory,
then a DataFrame for each part of the answer and `to_parquet`. No journal, no retry, no types of its own.

    script.py URL IDS_CSV FOLDER
"""

import asyncio
import csv
import sys
from pathlib import Path

import aiohttp
import orjson
import pandas as pd

QUERY = {"source": "INSTORE", "embed": "points,mlp,segments"}
PATHS = {
    "profiles": ["profiles"],
    "identifiers": ["profiles", "identifiers"],
    "comm_channels": ["profiles", "commChannels"],
    "loyalty_programs": ["loyaltyProgramDetails"],
    "tier_upgrade_gaps": ["loyaltyProgramDetails", "upgradeStrategies"],
    "group_programs": ["groupLoyaltyProgramDetails"],
    "cards": ["cardDetails"],
    "alternate_currencies": ["alternateCurrencyDetails"],
    "points_expiry_schedules": ["expirySchedules"],
    "expired_points": ["expiredPoints"],
    "returned_points": ["returnedPoints"],
    "subscriptions": ["subscriptionInfo", "subscriptions"],
    "promotional_points": ["promotionalPoints", "customerPromotionType"],
    "transaction_promotions": ["promotionalPoints", "transactionPromotionType"],
}
MAPS = ("segments", "extendedFields")


async def ask(
    session: aiohttp.ClientSession, semaphore: asyncio.Semaphore, url: str, customer_id: str
) -> dict:
    async with semaphore, session.get(f"{url}/v2/customers/{customer_id}", params=QUERY) as response:
        response.raise_for_status()
        return orjson.loads(await response.read())


async def ask_all(url: str, ids: list[str]) -> list[dict]:
    semaphore = asyncio.Semaphore(64)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session:
        return await asyncio.gather(*(ask(session, semaphore, url, one) for one in ids))


def frames(docs: list[dict]) -> dict[str, pd.DataFrame]:
    lists = {path[0] for path in PATHS.values()}
    tops = [
        {key: value for key, value in doc.items() if key not in lists and key not in MAPS} for doc in docs
    ]
    found = {"customers": pd.json_normalize(tops)}
    for name, path in PATHS.items():
        having = [doc for doc in docs if holds(doc, path)]
        found[name] = pd.json_normalize(having, path, meta="id", meta_prefix="customer_")
    for name in MAPS:
        rows = [(doc["id"], key, value) for doc in docs for key, value in (doc.get(name) or {}).items()]
        found[name] = pd.DataFrame(rows, columns=["customer_id", "name", "value"])
    return found


def holds(doc: dict, path: list[str]) -> bool:
    """json_normalize raises where a key on the way is missing, or is no list: those answers are left out."""
    first = doc.get(path[0])
    if not path[1:]:
        return isinstance(first, list)
    return bool(first) and all(
        isinstance(one.get(path[1]), list) for one in (first if isinstance(first, list) else [first])
    )


def write(frame: pd.DataFrame, path: Path) -> None:
    """Lists, objects and mixed types become text, or Parquet refuses them."""
    for name in frame.columns[[kind.name in ("object", "str") for kind in frame.dtypes]]:
        frame[name] = frame[name].map(lambda one: one if one is None or isinstance(one, str) else str(one))
    frame.to_parquet(path, compression="zstd", index=False)


def main(url: str, ids_csv: str, folder: str) -> None:
    ids = [row["customer_id"] for row in csv.DictReader(Path(ids_csv).open())]
    docs = asyncio.run(ask_all(url, ids))
    for name, frame in frames(docs).items():
        write(frame, Path(folder) / f"{name}.parquet")


if __name__ == "__main__":
    main(*sys.argv[1:4])
