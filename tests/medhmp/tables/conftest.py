"""Hand-made MIMIC-III tables: two patients, three admissions, three MetaVision stays."""

import csv
import gzip
from pathlib import Path

import pytest

HEADERS = {
    "PATIENTS": "ROW_ID SUBJECT_ID GENDER DOB DOD",
    "ADMISSIONS": "ROW_ID SUBJECT_ID HADM_ID ADMITTIME DISCHTIME DEATHTIME ADMISSION_TYPE "
    "ADMISSION_LOCATION DISCHARGE_LOCATION INSURANCE LANGUAGE RELIGION MARITAL_STATUS ETHNICITY "
    "HOSPITAL_EXPIRE_FLAG",
    "ICUSTAYS": "ROW_ID SUBJECT_ID HADM_ID ICUSTAY_ID DBSOURCE FIRST_CAREUNIT FIRST_WARDID INTIME "
    "OUTTIME",
    "DIAGNOSES_ICD": "ROW_ID SUBJECT_ID HADM_ID SEQ_NUM ICD9_CODE",
    "PRESCRIPTIONS": "ROW_ID SUBJECT_ID HADM_ID STARTDATE DRUG NDC GSN",
    "D_ITEMS": "ROW_ID ITEMID LABEL DBSOURCE CATEGORY",
    "CHARTEVENTS": "ROW_ID SUBJECT_ID HADM_ID ICUSTAY_ID ITEMID CHARTTIME VALUE VALUENUM VALUEUOM "
    "ERROR",
    "LABEVENTS": "ROW_ID SUBJECT_ID HADM_ID ITEMID CHARTTIME VALUE VALUENUM VALUEUOM FLAG",
    "MICROBIOLOGYEVENTS": "ROW_ID SUBJECT_ID HADM_ID CHARTDATE CHARTTIME SPEC_ITEMID ORG_ITEMID",
    "DATETIMEEVENTS": "ROW_ID SUBJECT_ID HADM_ID ICUSTAY_ID ITEMID CHARTTIME VALUE",
    "OUTPUTEVENTS": "ROW_ID SUBJECT_ID HADM_ID ICUSTAY_ID CHARTTIME ITEMID VALUE ISERROR",
    "INPUTEVENTS_MV": "ROW_ID SUBJECT_ID HADM_ID ICUSTAY_ID STARTTIME ENDTIME ITEMID AMOUNT "
    "AMOUNTUOM RATE RATEUOM ORDERCATEGORYDESCRIPTION STATUSDESCRIPTION",
    "PROCEDUREEVENTS_MV": "ROW_ID SUBJECT_ID HADM_ID ICUSTAY_ID STARTTIME ENDTIME ITEMID VALUE",
    "NOTEEVENTS": "ROW_ID SUBJECT_ID HADM_ID CHARTDATE CATEGORY DESCRIPTION ISERROR TEXT",
}


class RawFolder:
    """Tables as lists of rows (column -> value); ``write`` puts them on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tables: dict[str, list[dict[str, object]]] = {name: [] for name in HEADERS}
        self.headers = {name: header.split() for name, header in HEADERS.items()}

    def add(self, table: str, **values: object) -> None:
        self.tables[table].append({name.upper(): value for name, value in values.items()})

    def chart(
        self, stay: int, item: int, time: str, value: object, unit: str = "", error: object = 0
    ) -> None:
        self.add(
            "CHARTEVENTS",
            icustay_id=stay,
            itemid=item,
            charttime=time,
            value=value,
            valueuom=unit,
            error=error,
        )

    def write(self, lower: bool = False, gz: bool = True) -> str:
        """Upper or lower case names and headers, gzip or plain. Returns the folder."""
        self.path.mkdir(parents=True, exist_ok=True)
        for name, rows in self.tables.items():
            header = self.headers[name]
            file = (name.lower() if lower else name) + (".csv.gz" if gz else ".csv")
            open_text = gzip.open if gz else open
            with open_text(self.path / file, "wt", newline="") as stream:
                writer = csv.writer(stream)
                writer.writerow([column.lower() if lower else column for column in header])
                writer.writerows([[row.get(column, "") for column in header] for row in rows])
        return str(self.path)


def _fill(raw: RawFolder) -> None:
    raw.add("PATIENTS", subject_id=1, gender="F", dob="2040-01-01 00:00:00")
    raw.add("PATIENTS", subject_id=2, gender="M", dob="1800-01-01 00:00:00")  # older than 89
    stays = ((1, 11, 101, "2100-01-01"), (1, 12, 102, "2100-03-01"), (2, 21, 201, "2100-01-01"))
    for subject, hadm, stay, day in stays:
        raw.add(
            "ADMISSIONS",
            subject_id=subject,
            hadm_id=hadm,
            admittime=f"{day} 00:00:00",
            dischtime=f"{day[:8]}05 12:00:00",
            admission_type="EMERGENCY",
            admission_location="EMERGENCY ROOM ADMIT",
            insurance="Medicare",
            ethnicity="WHITE",
            hospital_expire_flag=0,
        )
        raw.add(
            "ICUSTAYS",
            subject_id=subject,
            hadm_id=hadm,
            icustay_id=stay,
            dbsource="metavision",
            first_careunit="MICU",
            first_wardid=50,
            intime=f"{day} 06:00:00",
            outtime=f"{day[:8]}04 06:00:00",
        )
        raw.add("DIAGNOSES_ICD", subject_id=subject, hadm_id=hadm, icd9_code="4019")
        raw.chart(stay, 220045, f"{day} 07:30:00", 80)
    for item, category in ((220045, "Routine Vital Signs"), (220048, "Routine Vital Signs")):
        raw.add("D_ITEMS", itemid=item, dbsource="metavision", category=category)
    raw.add(
        "LABEVENTS",
        subject_id=1,
        hadm_id=11,
        itemid=50912,
        charttime="2100-01-01 08:00:00",
        value="1.1",
    )
    raw.add(
        "INPUTEVENTS_MV",
        icustay_id=101,
        itemid=225158,
        starttime="2100-01-01 08:15:00",
        endtime="2100-01-01 10:15:00",
        amount=120,
        amountuom="ml",
        rate=60,
        ordercategorydescription="Continuous Med",
        statusdescription="FinishedRunning",
    )
    raw.add(
        "PROCEDUREEVENTS_MV",
        icustay_id=101,
        itemid=225402,
        starttime="2100-01-01 06:00:00",
        endtime="2100-01-01 06:10:00",
    )


@pytest.fixture
def raw(tmp_path: Path) -> RawFolder:
    folder = RawFolder(tmp_path / "raw")
    _fill(folder)
    return folder
