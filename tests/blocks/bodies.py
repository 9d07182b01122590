"""Invented answers: a full one with every block, and small ones. All names and numbers are made up."""

from __future__ import annotations

import copy
from typing import Any

from pipeline.jsontext import JsonFloat

TILL = {
    "id": 70011,
    "code": "harbour.till1",
    "name": "Harbour Till 1",
    "type": "TILL",
    "description": "",
    "referenceId": -1,
    "default": False,
    "adminType": "GENERAL",
    "isActive": True,
    "isOuEnabled": True,
    "timeZoneId": 0,
    "currencyId": 95,
    "languageId": -1,
}

PROGRAM = {
    "redeemed": JsonFloat("120.5"),
    "expired": 0,
    "returned": JsonFloat("0.0"),
    "adjusted": JsonFloat("-0.01"),
    "lifetimePoints": JsonFloat("1100.2139892578125"),
    "loyaltyPoints": JsonFloat("979.71"),
    "cumulativePurchases": JsonFloat("-1.1996371E9"),
    "loyaltyId": 88001,
    "currentSlab": "Silver",
    "currentSlabDescription": "The second tier",
    "nextSlab": "Gold",
    "nextSlabSerialNumber": 3,
    "nextSlabDescription": "The third tier",
    "slabSNo": 2,
    "slabExpiryDate": "2125-02-18T23:59:59+05:30",
    "programId": 501,
    "delayedPoints": JsonFloat("5.0"),
    "delayedReturnedPoints": 0,
    "delayedExpiredPoints": 0,
    "totalAvailablePoints": JsonFloat("984.71"),
    "totalReturnedPoints": 0,
    "programTitle": "Harbour Club",
    "programDescription": " ",
    "programPointsToCurrencyRatio": JsonFloat("0.75"),
    "userGroup2Id": 3100,
    "pointsContributionToGroup": JsonFloat("12.0"),
    "linkedPartnerPrograms": [
        {
            "partnerProgramId": 9,
            "partnerProgramName": "Sky Miles",
            "partnerProgramDescription": "Miles",
            "partnerTierNumber": 1,
            "partnerTierName": "Blue",
            "partnerTierExpiryDate": "2027-12-29T23:59:59Z",
            "partnerMembershipId": "400055500011",
            "partnerProgramType": "EXTERNAL",
            "tierBased": True,
            "partnerProgramMembershipStartDate": "2024-01-01T00:00:00Z",
            "partnerProgramMembershipEndDate": "2027-01-01T00:00:00Z",
            "partnerProgramMembershipLastUpdatedDate": "2025-01-01T00:00:00Z",
            "partnerProgramMembershipLastUpdatedActivity": "RENEWED",
        },
        {"partnerProgramId": 11, "partnerProgramName": "Hotel Nights", "tierBased": False},
    ],
    "upgradeStrategies": [
        {
            "upgradeBasedOn": "CURRENT_POINTS",
            "upgradeThreshold": JsonFloat("2000.0"),
            "customerUpgradeEntityValues": {
                "currentValue": JsonFloat("979.71"),
                "gapToUpgrade": JsonFloat("1020.29"),
                "valueValidUpto": "2026-12-31",
            },
        },
        {
            "upgradeBasedOn": "TRACKER_VALUE_BASED",
            "upgradeThreshold": 25000,
            "customerUpgradeEntityValues": {"currentValue": 1, "gapToUpgrade": 24999},
            "customExpression": "(A AND B)",
            "expressionRelation": [[1, 2]],
            "trackerEntityIdentifiers": [
                {
                    "trackerName": "visits",
                    "trackerType": "CUSTOMER_VISITS",
                    "trackerMode": "MOVING_WINDOW",
                    "trackerCaseName": "all",
                    "trackerCasePeriodType": "DAYS",
                    "trackerCasePeriodValue": 730,
                },
                {"trackerName": "bills", "trackerType": "BILL_AMOUNT"},
            ],
        },
    ],
    "gapToRenewSummary": {
        "tierExpiryDate": "2026-12-31",
        "renewConfirmed": False,
        "renewStrategies": [
            {
                "renewBasedOn": "TRACKER",
                "renewThreshold": 3,
                "customerRenewEntityValue": 1,
                "customerGapToRenewValue": 2,
                "trackerEntityIdentifiers": [{"trackerName": "visits", "trackerCasePeriodValue": 12}],
            },
            {"renewBasedOn": "PURCHASE", "renewThreshold": JsonFloat("5000.000")},
        ],
    },
}

SECOND_PROGRAM = {
    "programId": 502,
    "currentSlab": "Base",
    "nextSlab": "",
    "upgradeStrategies": [],
    "linkedPartnerPrograms": [],
    "gapToRenewSummary": {"tierExpiryDate": "2125-11-19", "renewConfirmed": True, "renewStrategies": []},
}

SIGNED = "https://pictures.example.com/4711?X-Amz-Signature=c0ffee&X-Amz-Security-Token=deadbeef"

IMAGE = {
    "code": 200,
    "file": {
        "acl": "PRIVATE",
        "fileHandle": "11111111-2222-3333-4444-555555555555",
        "fileSize": "209859",
        "lastModified": "2026-04-30 12:25:56",
        "latestVersion": 2,
        "name": "7/4711/0",
        "namespace": "customerImage",
        "s3Token": "customerImage/7/4711/badcafe",
        "version": 1,
    },
    "filePath": SIGNED,
    "secureFilePath": SIGNED + "&more=1",
    "message": "Success",
    "status": "true",
}

CARD = {
    "cardId": 418,
    "id": 418,
    "issuedDate": "2026-01-23T10:01:33Z",
    "createdDate": "2026-01-23",
    "expiryDays": 0,
    "expiryDate": "2029-01-23T00:00:00Z",
    "seriesName": "harbour",
    "seriesId": 23,
    "seriesCode": "0422",
    "customerId": 4711,
    "maxActiveCards": 60,
    "cardExternalId": "hc-7",
    "entityId": 70011,
    "entityCode": "harbour.till1",
    "orgId": 7,
    "type": "DIGITAL",
    "cardNumber": "HC000418",
    "customFields": {"card name": "anchor", "empty": ""},
    "extendedFields": {"balance": JsonFloat("1000.0"), "year": 18, "kept": "yes", "none": None},
    "activeAndDigital": True,
    "transactionNotAllowed": True,
    "statusInfo": {
        "reason": "",
        "createdBy": 70011,
        "actions": [],
        "autoUpdateTime": "2026-01-23",
        "createdOn": "2026-01-23T10:01:33Z",
        "entityId": 418,
        "id": 478,
        "isActive": True,
        "labelId": 31,
        "label": "NEW CARD",
        "status": "ACTIVE",
    },
}

GROUP = {
    "id": 3100,
    "externalId": "crew-1",
    "groupName": "The crew",
    "groupStatus": "ACTIVE",
    "maxGroupSize": 30,
    "createdBy": 70011,
    "createdOn": "2025-09-27T15:07:22+05:30",
    "totalActiveMembers": 3,
    "totalExitedMembers": 1,
    "lifeTimePurchases": 70100,
    "extendedFields": {"boat": "Tern"},
    "fleetGroupUsers": [{"userId": 4711, "groupId": 3100, "primaryMember": True}],
    "pointsSummaries": [{"programId": 501, "loyaltyPoints": JsonFloat("54500.0")}],
    "warnings": [],
}

FULL: dict[str, Any] = {
    "id": 4711,
    "profiles": [
        {
            "firstName": "Mira",
            "lastName": "",
            "attribution": {
                "createDate": "2021-02-18T20:31:15+05:30",
                "createdBy": TILL,
                "modifiedBy": {"type": "TILL"},
                "modifiedDate": "2021-02-22T13:27:29Z",
            },
            "fields": {"Favorite Color": "Green", "vip": "true"},
            "allFields": {"vip": "true"},
            "identifiers": [
                {"type": "mobile", "value": "15550100"},
                {
                    "type": "cardNumber",
                    "value": "HC000418",
                    "seriesId": 23,
                    "seriesCode": "0422",
                    "cardId": 418,
                    "cardExternalId": "hc-7",
                    "statusLabel": "ACTIVE",
                    "statusLabelInfo": {
                        "orgId": 7,
                        "type": "CARD",
                        "internalStatus": "NOT_ISSUED",
                        "default": False,
                    },
                    "extendedFields": {"deck": "2"},
                },
            ],
            "identifiersAll": [{"type": "email", "value": "mira@example.com"}],
            "commChannels": [
                {
                    "type": "email",
                    "value": "mira@example.com",
                    "primary": True,
                    "verified": "false",
                    "meta": {"residence": False, "office": True, "lastViewedDate": "2026-01-01"},
                    "attributes": {"tone": "short"},
                }
            ],
            "source": "INSTORE",
            "userId": 4711,
            "accountId": "",
            "conflictingProfileList": [],
            "autoUpdateTime": "2026-09-14T17:53:13+05:30",
        },
        {
            "firstName": "Mira",
            "source": "WECHAT",
            "userId": 4711,
            "accountId": "wechat-1",
            "fields": {},
            "identifiers": [{"type": "wechat", "value": "mira_w"}],
            "autoUpdateTime": "2026-09-14T12:23:13Z",
        },
    ],
    "loyaltyInfo": {
        "loyaltyType": "loyalty",
        "attributionV2": {
            "createDate": "2021-02-18T20:31:15+05:30",
            "createdBy": TILL,
            "modifiedBy": TILL,
            "modifiedDate": "2021-02-22T13:27:29+05:30",
            "createdFromSource": "instore",
        },
        "lifetimePurchases": JsonFloat("24000.000"),
        "score": 97,
    },
    "fraudDetails": {"markedBy": TILL, "modifiedOn": "2023-09-23T15:13:14+05:30", "status": "NOT_FRAUD"},
    "statusLabel": "Regular",
    "statusLabelReason": "Signed up",
    "segments": {"Activity segment": "Active", "Taste": ["sweet", "sour"]},
    "associatedWith": "harbour.till1",
    "extendedFields": {"city": "Porto", "children": 2, "member": True, "dob": None},
    "referralCode": "MIRA7",
    "entity": 4711,
    "ug2Pagination": {"limit": 10, "offset": 0, "total": 1},
    "pointsSummary": PROGRAM | {"programId": 500, "gapToRenewSummary": [{"tierExpiryDate": "2027-01-31"}]},
    "loyaltyProgramDetails": [PROGRAM, SECOND_PROGRAM],
    "groupLoyaltyProgramDetails": [
        {
            "groupProgramId": 600,
            "title": "All harbours",
            "description": "Together",
            "programsList": [
                {"id": 501, "name": "Harbour Club", "description": ""},
                {"id": 502, "name": "Pier Club", "description": "Piers"},
            ],
            "lifetimePoints": JsonFloat("420.0"),
            "loyaltyPoints": 420,
            "promisedPoints": JsonFloat("0.0"),
            "pointsToCurrencyRatio": JsonFloat("1.0"),
            "upgradeStrategies": [{"upgradeBasedOn": "LIFETIME_POINTS", "upgradeThreshold": 1000}],
        }
    ],
    "upgradeStrategies": [
        {"upgradeBasedOn": "LIFETIME_PURCHASES", "upgradeEntityIdentifiers": [{"trackerName": "t"}]}
    ],
    "gapToUpgrade": [{"upgrade_based_on": "CUMULATIVE_PURCHASES", "upgradeThreshold": "10000.0"}],
    "gapToRenewSummary": {"tierExpiryDate": "2026-12-31", "renewStrategies": [{"renewBasedOn": "VISITS"}]},
    "alternateCurrencyDetails": [
        {
            "programId": 501,
            "programName": "Harbour Club",
            "alternateCurrencyData": {
                "name": "Shells",
                "earned": 5,
                "lifetimeEarned": 9,
                "redeemed": 4,
                "expired": 0,
                "returned": 0,
                "delayedEarned": 1,
                "delayedLifetimeEarned": 1,
                "delayedReturned": 0,
                "delayedExpired": 0,
                "totalAvailable": JsonFloat("5.5"),
                "totalRedeemed": 4,
                "totalReturned": 0,
                "totalExpired": 0,
            },
        },
        {
            "programId": 502,
            "programName": "Pier Club",
            "alternateCurrencyData": [{"name": "A"}, {"name": "B"}],
        },
        {"programId": 503, "programName": "No currency"},
    ],
    "promotionalPoints": {
        "customerPromotionType": [
            {
                "points": JsonFloat("200.0"),
                "issuedAt": {"code": "store", "name": "Store 10"},
                "issuedOn": "2025-12-12T11:23:03+05:30",
                "expiryDate": "2026-12-31T23:59:59+05:30",
                "promotionSource": {"promotionSourceId": -1, "promotionSourceType": "GOODWILL"},
                "programId": 501,
                "promotionName": "Goodwill",
            }
        ],
        "transactionPromotionType": [{"points": 7}],
        "lineitemPromotionType": [],
    },
    "expirySchedules": [
        {
            "points": JsonFloat("400.0"),
            "expiryDate": "2117-07-18",
            "expiryDateISO": "2117-07-18T00:00:00Z",
            "programId": 501,
            "pointsType": "bill_regular",
            "expiryType": "fixed",
        },
        {"points": 10, "expiryDate": "2117-07-18", "programId": 501},
        {"points": 10, "expiryDate": "2117-07-18", "programId": 501},
    ],
    "expiredPoints": [
        {
            "points": JsonFloat("10200.0"),
            "expiredOn": "2025-11-10",
            "programId": 501,
            "expiredPointsSummary": [
                {
                    "paType": "POINT_AWARDED_LINEITEM",
                    "paId": 1748,
                    "expiryUpdateReasonType": "Expiry strategy",
                    "expiryUpdateReasonNote": "NA",
                    "newExpiryDate": "2025-11-10 01:04:05.0",
                    "eventDate": "2025-11-10 01:04:05.0",
                    "points": JsonFloat("40.0"),
                    "strategyName": "20 days",
                },
                {"paType": "POINT_AWARDED", "points": 10160},
            ],
        }
    ],
    "returnedPoints": [{"programId": 501, "points": JsonFloat("12.5")}],
    "subscriptionInfo": {
        "subscriptions": [
            {"channel": "EMAIL", "priority": "TRANS", "type": "OPTIN"},
            {
                "channel": "SMS",
                "priority": "BULK",
                "type": "OPTOUT",
                "accountId": "7",
                "sourceName": "INSTORE",
            },
        ]
    },
    "subscriptions": [{"channel": "IOS", "type": "OPTIN", "campaignId": -1, "communicationId": -1}],
    "cardDetails": [CARD, {"cardId": 419, "cardnumber": "HC000419"}],
    "customerImage": [IMAGE],
    "associatedImages": [],
    "userGroup2": [GROUP],
    "associationDetails": {
        "hierarchyCode": "fleet",
        "hierarchyId": 21,
        "roleCode": "FA",
        "childRoleCode": "FC",
        "parentRoleId": 83,
        "fleetCompany": {"externalId": "ex-7", "companyId": 71},
        "childCustomers": [{"profiles": [{"firstName": "Ola", "source": "INSTORE"}]}],
        "skipLevelAllowed": False,
        "new": True,
        "childCustomer": False,
    },
    "warnings": [{"status": False, "code": 8076, "message": "Gap details missing"}],
    "errors": [],
}
"""Every block at once. Nothing in it is unknown, and nothing in it fails to fit."""

SMALL: dict[str, Any] = {
    "id": 12,
    "profiles": [],
    "loyaltyInfo": {"loyaltyType": "non_loyalty"},
    "segments": {},
    "extendedFields": {},
    "cardDetails": [],
    "warnings": [],
}


def full() -> dict[str, Any]:
    """A fresh copy of the full body."""
    return copy.deepcopy(FULL)
