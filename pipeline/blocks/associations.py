"""One row per customer in a hierarchy (fleet companies and their drivers, families). Key: customer_id."""

from __future__ import annotations

from pipeline.blocks.base import Block, Privacy, Table, boolean, integer, json_text, text

ASSOCIATIONS = Table(
    name="associations",
    meaning="One row per customer that stands in a hierarchy of customers.",
    rows=("associationDetails",),
    key=("customer_id",),
    columns=(
        text("hierarchy_code", "hierarchyCode", "Code of the hierarchy."),
        integer("hierarchy_id", "hierarchyId", "ID of the hierarchy."),
        text("role_code", "roleCode", "The customer's role in it."),
        text("child_role_code", "childRoleCode", "The role of those below."),
        integer("parent_role_id", "parentRoleId", "ID of the role above."),
        text(
            "fleet_company_external_id",
            "fleetCompany.externalId",
            "The company's ID outside.",
            Privacy.IDENTIFIER,
        ),
        integer("fleet_company_company_id", "fleetCompany.companyId", "The company's ID."),
        boolean("skip_level_allowed", "skipLevelAllowed", "Whether a level of the hierarchy may be skipped."),
        boolean("is_new", "new", "Whether the association is new."),
        boolean("child_customer", "childCustomer", "Whether the customer is a child in the hierarchy."),
        integer("child_customer_count", "#childCustomers", "Customers below this one.", "customers"),
        json_text("child_customers", "childCustomers", "The customers below this one, with their profiles."),
    ),
)

BLOCK = Block(tables=(ASSOCIATIONS,))
