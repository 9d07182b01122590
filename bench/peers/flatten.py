"""What the tuned script, the Singer target and the Scrapy pipeline share: one answer into rows of 17 tables.

Written by hand, as someone would for such a script: named keys, binary floats, dates as text, nothing kept of what is
not named. (dlt and pandas flatten by themselves.)
"""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

PROFILE = ("firstName", "lastName", "source", "userId", "accountId", "autoUpdateTime")
PROGRAM = ("programId", "loyaltyId", "programTitle", "currentSlab", "nextSlab", "slabSNo", "slabExpiryDate", "redeemed",
           "expired", "returned", "adjusted", "lifetimePoints", "loyaltyPoints", "cumulativePurchases",
           "totalAvailablePoints", "totalReturnedPoints", "delayedPoints")  # fmt: skip
PROMOTION = ("points", "issuedOn", "expiryDate", "programId", "promotionName", "transactionId")
CARD = ("cardId", "cardNumber", "type", "seriesId", "seriesName", "seriesCode", "issuedDate", "createdDate",
        "expiryDays", "maxActiveCards", "orgId", "entityId")  # fmt: skip
CURRENCY = (
    "name",
    "earned",
    "lifetimeEarned",
    "redeemed",
    "expired",
    "returned",
    "totalAvailable",
    "totalExpired",
)


def several(found: object) -> list[dict]:
    """The API sends one alone where it has a list elsewhere."""
    return [one for one in (found if isinstance(found, list) else [found]) if isinstance(one, dict)]


def one_of(found: object) -> dict:
    """And a list where it has one alone."""
    return next(iter(several(found)), {})


def rows_of(doc: dict) -> list[tuple[str, dict]]:
    """Each row with its table's name."""
    cid, found = doc["id"], []

    def add(table: str, where: dict, keys: tuple[str, ...], **more: object) -> None:
        found.append((table, {"customer_id": cid, **more, **{key: where.get(key) for key in keys}}))

    loyalty, fraud = one_of(doc.get("loyaltyInfo")), one_of(doc.get("fraudDetails"))
    add("customers", doc, ("associatedWith",), fraud_status=fraud.get("status"),
        loyaltyType=loyalty.get("loyaltyType"), lifetimePurchases=loyalty.get("lifetimePurchases"))  # fmt: skip
    for number, one in enumerate(doc.get("profiles") or ()):
        add("profiles", one, PROFILE, profile=number)
        for inner in several(one.get("identifiers")):
            add("identifiers", inner, ("type", "value"), profile=number)
        for inner in several(one.get("commChannels")):
            add("comm_channels", inner, ("type", "value", "primary", "verified"), profile=number)
    for table, key in (("segments", "segments"), ("extended_fields", "extendedFields")):
        for name, value in one_of(doc.get(key)).items():
            add(table, {}, (), name=name, value=None if value is None else str(value))
    for one in several(doc.get("loyaltyProgramDetails")):
        add_program(add, one)
    if doc.get("pointsSummary"):
        add("points_summary", doc["pointsSummary"], PROGRAM)
    for kind, promotions in one_of(doc.get("promotionalPoints")).items():
        for one in several(promotions):
            add("promotional_points", one, PROMOTION, kind=kind)
    for one in several(doc.get("expirySchedules")):
        add("points_expiry_schedules", one, ("points", "expiryDate", "programId", "pointsType", "expiryType"))
    for one in several(doc.get("expiredPoints")):
        add("expired_points", one, ("points", "expiredOn", "programId"))
    for one in several(doc.get("returnedPoints")):
        add("returned_points", one, ("points", "returnedOn", "programId", "transactionNumber"))
    for one in several(one_of(doc.get("subscriptionInfo")).get("subscriptions")):
        add("subscriptions", one, ("channel", "priority", "type", "sourceName", "accountId"))
    for one in several(doc.get("cardDetails")):
        add("cards", one, CARD, status=one_of(one.get("statusInfo")).get("status"))
    for one in several(doc.get("alternateCurrencyDetails")):
        add(
            "alternate_currencies",
            one_of(one.get("alternateCurrencyData")),
            CURRENCY,
            programId=one.get("programId"),
        )
    return found


def add_program(add, one: dict) -> None:
    """A loyalty programme and its gaps."""
    add("loyalty_programs", one, PROGRAM)
    for gap in several(one.get("upgradeStrategies")):
        values = one_of(gap.get("customerUpgradeEntityValues"))
        add("tier_upgrade_gaps", gap, ("upgradeBasedOn", "upgradeThreshold"), programId=one.get("programId"),
            currentValue=values.get("currentValue"), gapToUpgrade=values.get("gapToUpgrade"))  # fmt: skip
    summary = one_of(one.get("gapToRenewSummary"))
    for gap in several(summary.get("renewStrategies")):
        add("tier_renewal_gaps", gap, ("renewBasedOn", "renewThreshold", "customerGapToRenewValue"),
            programId=one.get("programId"), tierExpiryDate=summary.get("tierExpiryDate"))  # fmt: skip


class ParquetTables:
    """Rows gathered by table; a file each, written in pieces of at most `batch` rows where one is given."""

    def __init__(self, folder: Path, batch: int = sys.maxsize) -> None:
        self.folder = folder
        self.batch = batch
        self.rows: dict[str, list[dict]] = {}
        self.files: dict[str, int] = {}

    def add(self, doc: dict) -> None:
        for table, row in rows_of(doc):
            waiting = self.rows.setdefault(table, [])
            waiting.append(row)
            if len(waiting) >= self.batch:
                self.write(table)

    def write(self, table: str) -> None:
        number = self.files.get(table, 0)
        self.files[table] = number + 1
        (self.folder / table).mkdir(parents=True, exist_ok=True)
        write_rows(self.rows.pop(table), self.folder / table / f"{number:05d}.parquet")

    def close(self) -> None:
        for table in list(self.rows):
            self.write(table)


def write_rows(rows: list[dict], path: Path) -> None:
    """One Parquet file; a column of several types becomes text."""
    try:
        table = pa.Table.from_pylist(rows)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        table = pa.table({key: column([row[key] for row in rows]) for key in rows[0]})
    pq.write_table(table, path, compression="zstd")


def column(values: list) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if one is None else str(one) for one in values])
