"""The made-up brand behind the sandbox: its programmes, tiers, tills, names and accounts. All of it is
fictional: e-mail lives at example.com and example.org, and +999 is a country code nobody has."""

from dataclasses import dataclass

# Three clusters' worth of zones in one base, as after a migration.
ZONES = ("+05:30", "+05:30", "+08:00", "Z")

# The names mix scripts, an emoji, a combining accent, quotes and a backslash: what real name fields hold.
FIRST_NAMES = (
    "Asha", "Ravi", "Meera", "Tom", "Lena", "Omar", "Ines", "Kofi", "Yuki", "Nadia", "Pablo", "Ewa",
    "अनिता", "राजेश", "小明", "美玲", "محمد", "ليلى", "Zoë", "Jose\u0301", "Sunny ☀️", "👩‍👧 Mom",
    "Ms \"V\"", "A\\B", "O’Neil",
)  # fmt: skip
LAST_NAMES = (
    "Rao", "Iyer", "Sawyer", "Lindt", "Haddad", "Mensah", "Sato", "Costa", "Nowak", "Khan", "Das", "Roy",
    "शर्मा", "वर्मा", "王", "李", "الهاشمي", "Nu\u0308nez", "d'Arc", "van der Berg", "Smith-Jones", " ", "—",
)  # fmt: skip

CITIES = ("Bengaluru", "Pune", "Singapore", "深圳", "Dubai", "دبي", "Jakarta", "Leeds", "मुंबई", "São Paulo")

SOURCES = frozenset({
    "INSTORE", "ALL", "MARTJACK", "WECHAT", "LINE", "FACEBOOK", "WEB_ENGAGE", "TMALL", "TAOBAO", "JD",
    "ECOMMERCE", "WEBSITE", "MOBILE_APP", "MAPP_SDK", "WHATSAPP", "OTHERS",
})  # fmt: skip

# Sources whose accounts this brand has. A source that isn't here takes any account, and no customer has a
# profile in it.
ACCOUNTS = {
    "WECHAT": ("wechat-con1", "wechat-con2"),
    "LINE": ("311c4dd1",),
    "MARTJACK": ("400",),
    "WEB_ENGAGE": ("we-app",),
    "MOBILE_APP": ("app-1", "app-2"),
}

TILLS = tuple((12_970_000 + 37 * n, f"till.{n:02d}") for n in range(1, 41))
ORG_ID = 99_001
IMAGE_HOST = "https://images.example.com"


@dataclass(frozen=True)
class Tier:
    """A rung of a programme. `threshold` is in whole currency units of cumulative purchases."""

    name: str
    threshold: int
    description: str


@dataclass(frozen=True)
class Program:
    """A loyalty programme. The first in PROGRAMS is the default one, which every loyalty customer is in."""

    id: int
    title: str
    description: str
    tiers: tuple[Tier, ...]
    upgrade_on: str
    renew_on: str
    is_group: bool = False


def _tiers(*rungs: tuple[str, int]) -> tuple[Tier, ...]:
    return tuple(Tier(name, threshold, f"{name} tier") for name, threshold in rungs)


PROGRAMS = (
    Program(1401, "Harbour Rewards", "Default program for Harbour Stores",
            _tiers(("Base", 0), ("Silver", 5_000), ("Gold", 25_000), ("Platinum", 100_000)),
            "CUMULATIVE_PURCHASES", "PURCHASE"),
    Program(1422, "Harbour Café", "Coffee and more",
            _tiers(("Copper*", 0), ("Copper", 1_000), ("Topaz", 8_000)), "CURRENT_POINTS", "POINTS"),
    Program(1423, "Sea & Sky", " ", _tiers(("Aviator", 0), ("Explorer", 12_000)),
            "TRACKER_VALUE_BASED", "TRACKER"),
    Program(1550, "港口会员", "", _tiers(("普通", 0), ("银卡", 3_000), ("金卡", 15_000)),
            "LIFETIME_POINTS", "VISITS"),
    Program(1679, "Harbour Fuel", "Fuel and fleet", _tiers(("Tier1", 0), ("Tier 2", 40_000)),
            "LIFETIME_PURCHASES", "PURCHASE", is_group=True),
)  # fmt: skip

TRACKERS = (
    ("Spend in 90 days", "BILL_AMOUNT", "MOVING_WINDOW", "DAYS", 90),
    ("Visits this year", "CUSTOMER_VISITS", "CALENDAR_BASED_CYCLIC_WINDOW", "MONTHS", 12),
    ("Items since tier", "LINEITEM_QTY", "TIER_CHANGE_WINDOW", "MONTHS", 6),
)

SEGMENTS = {
    "Activity segment": ("Active", "Lapsing", "Lapsed", "New"),
    "RFM": ("Champion", "Loyal", "At risk", "Hibernating"),
    "Price sensitivity": ("High", "Medium", "Low", ""),
    "区域": ("华东", "华南", "华北"),
    "churn_risk_2026": ("0", "1", "2"),
}
