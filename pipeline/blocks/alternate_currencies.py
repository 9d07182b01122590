"""One row per programme and alternate currency. Key: customer_id, program_ordinal, ordinal.

`alternateCurrencyData` is documented as an object; a list of them is read too. A programme without any has
one row.
"""

from __future__ import annotations

from pipeline.blocks.base import Block, Table, decimal, integer, ordinal, ordinal_of, text

_UNIT = "units of the alternate currency"

ALTERNATE_CURRENCIES = Table(
    name="alternate_currencies",
    meaning="One row per programme and alternate currency (miles, stamps, …) of the customer.",
    rows=("alternateCurrencyDetails[].alternateCurrencyData[]?",),
    key=("customer_id", "program_ordinal", "ordinal"),
    columns=(
        ordinal_of("program_ordinal", "^@ordinal", "Position of the programme in alternateCurrencyDetails."),
        integer("program_id", "^.programId", "ID of the loyalty programme."),
        text("program_name", "^.programName", "Name of the loyalty programme."),
        ordinal("0-based position of the currency in its programme."),
        text("name", "name", "The currency's name."),
        decimal("earned", "earned", "Earned so far.", _UNIT),
        decimal("lifetime_earned", "lifetimeEarned", "Earned since enrolment.", _UNIT),
        decimal("redeemed", "redeemed", "Redeemed so far.", _UNIT),
        decimal("expired", "expired", "Expired so far.", _UNIT),
        decimal("returned", "returned", "Taken back with returns.", _UNIT),
        decimal("delayed_earned", "delayedEarned", "Promised, not yet to be redeemed.", _UNIT),
        decimal("delayed_lifetime_earned", "delayedLifetimeEarned", "Promised since enrolment.", _UNIT),
        decimal("delayed_returned", "delayedReturned", "Promised and taken back with returns.", _UNIT),
        decimal("delayed_expired", "delayedExpired", "Promised and expired.", _UNIT),
        decimal("total_available", "totalAvailable", "Available, promised included.", _UNIT),
        decimal("total_redeemed", "totalRedeemed", "Redeemed in total.", _UNIT),
        decimal("total_returned", "totalReturned", "Taken back in total.", _UNIT),
        decimal("total_expired", "totalExpired", "Expired in total.", _UNIT),
    ),
)

BLOCK = Block(tables=(ALTERNATE_CURRENCIES,), embed=("alternateCurrencies",))
