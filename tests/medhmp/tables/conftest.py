"""Hand-made MIMIC-III tables (two patients, three MetaVision stays), and eICU tables drawn."""

import csv
import gzip
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

CLIF_DEMO = Path(__file__).parents[2] / "golden" / "clif_demo"
"""The open demo of MIMIC-IV in CLIF 2.1."""

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


@pytest.fixture
def as_parquet() -> Callable[[Path], None]:
    """Writes each ``.csv.gz`` of a folder and those in it as Parquet of texts, in its stead."""

    def convert(folder: Path) -> None:
        for path in folder.rglob("*.csv.gz"):
            with gzip.open(path, "rt", newline="") as file:
                header, *rows = csv.reader(file)
            columns = list(zip(*rows, strict=True)) or [()] * len(header)
            arrays = [pa.array(column, pa.string()) for column in columns]
            name = path.name.removesuffix(".csv.gz") + ".parquet"
            pq.write_table(pa.table(arrays, header), path.with_name(name))
            path.unlink()

    return convert


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


def fill(raw: RawFolder) -> None:
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
    fill(folder)
    return folder


EICU = {
    "patient": "patientunitstayid,patienthealthsystemstayid,gender,age,ethnicity,hospitalid,wardid,"
    "apacheadmissiondx,admissionheight,hospitaladmittime24,hospitaladmitoffset,hospitaladmitsource,"
    "hospitaldischargeyear,hospitaldischargetime24,hospitaldischargeoffset,"
    "hospitaldischargelocation,hospitaldischargestatus,unittype,unitadmittime24,unitadmitsource,"
    "unitvisitnumber,unitstaytype,admissionweight,dischargeweight,unitdischargetime24,"
    "unitdischargeoffset,unitdischargelocation,unitdischargestatus,uniquepid",
    "hospital": "hospitalid,numbedscategory,teachingstatus,region",
    "diagnosis": "diagnosisid,patientunitstayid,activeupondischarge,diagnosisoffset,"
    "diagnosisstring,icd9code,diagnosispriority",
    "medication": "medicationid,patientunitstayid,drugorderoffset,drugstartoffset,drugivadmixture,"
    "drugordercancelled,drugname,drughiclseqno,dosage,routeadmin,frequency,loadingdose,prn,"
    "drugstopoffset,gtc",
    "infusionDrug": "infusiondrugid,patientunitstayid,infusionoffset,drugname,drugrate,"
    "infusionrate,drugamount,volumeoffluid,patientweight",
    "respiratoryCare": "respcareid,patientunitstayid,respcarestatusoffset,currenthistoryseqnum,"
    "airwaytype,airwaysize,airwayposition,cuffpressure,ventstartoffset,ventendoffset,"
    "priorventstartoffset,priorventendoffset,apneaparams,lowexhmvlimit,hiexhmvlimit,lowexhtvlimit,"
    "hipeakpreslimit,lowpeakpreslimit,hirespratelimit,lowrespratelimit,sighpreslimit,lowironoxlimit,"
    "highironoxlimit,meanairwaypreslimit,peeplimit,cpaplimit,setapneainterval,setapneatv,"
    "setapneaippeephigh,setapnearr,setapneapeakflow,setapneainsptime,setapneaie,setapneafio2",
    "respiratoryCharting": "respchartid,patientunitstayid,respchartoffset,respchartentryoffset,"
    "respcharttypecat,respchartvaluelabel,respchartvalue",
    "lab": "labid,patientunitstayid,labresultoffset,labtypeid,labname,labresult,labresulttext,"
    "labmeasurenamesystem,labmeasurenameinterface,labresultrevisedoffset",
    "customLab": "customlabid,patientunitstayid,labotheroffset,labothertypeid,labothername,"
    "labotherresult,labothervaluetext",
    "vitalPeriodic": "vitalperiodicid,patientunitstayid,observationoffset,temperature,sao2,"
    "heartrate,respiration,cvp,etco2,systemicsystolic,systemicdiastolic,systemicmean,pasystolic,"
    "padiastolic,pamean,st1,st2,st3,icp",
    "vitalAperiodic": "vitalaperiodicid,patientunitstayid,observationoffset,noninvasivesystolic,"
    "noninvasivediastolic,noninvasivemean,paop,cardiacoutput,cardiacinput,svr,svri,pvr,pvri",
    "nurseCharting": "nursingchartid,patientunitstayid,nursingchartoffset,nursingchartentryoffset,"
    "nursingchartcelltypecat,nursingchartcelltypevallabel,nursingchartcelltypevalname,"
    "nursingchartvalue",
    "intakeOutput": "intakeoutputid,patientunitstayid,intakeoutputoffset,intaketotal,outputtotal,"
    "dialysistotal,nettotal,intakeoutputentryoffset,cellpath,celllabel,cellvaluenumeric,"
    "cellvaluetext",
    "pastHistory": "pasthistoryid,patientunitstayid,pasthistoryoffset,pasthistoryenteredoffset,"
    "pasthistorynotetype,pasthistorypath,pasthistoryvalue,pasthistoryvaluetext",
    "treatment": "treatmentid,patientunitstayid,treatmentoffset,treatmentstring,"
    "activeupondischarge",
    "admissionDx": "admissiondxid,patientunitstayid,admitdxenteredoffset,admitdxpath,admitdxname,"
    "admitdxtext",
    "physicalExam": "physicalexamid,patientunitstayid,physicalexamoffset,physicalexampath,"
    "physicalexamvalue,physicalexamtext",
    "admissionDrug": "admissiondrugid,patientunitstayid,drugoffset,drugenteredoffset,drugnotetype,"
    "specialtytype,usertype,rxincluded,writtenineicu,drugname,drugdosage,drugunit,"
    "drugadmitfrequency,drughiclseqno",
}
SILENT = {80: ("respiratoryCare", "respiratoryCharting"), 90: ("infusionDrug", "medication")}
"""Hospitals that have no row in some tables."""


class EicuTables:
    """Tables in the shape of eICU-CRD 2.0, drawn by a seed; rows are column -> value.

    Among what is drawn: unit stays that follow each other in a hospital stay, hospital stays of one
    year, ages that are '> 89' or empty, unknown ends, readings of one minute, before admission and
    after discharge, results that are no numbers, offsets of zero, orders without a name, and rows
    of a stay that is not there. No table is sorted by stay.
    """

    def __init__(self, patients: int = 40, seed: int = 0) -> None:
        self.draw = random.Random(seed)
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in EICU}
        self.headers = {name: header.split(",") for name, header in EICU.items()}
        for hospital in (60, 70, 80, 90):
            self.add("hospital", hospitalid=hospital, numbedscategory="<100", region="West")
        for number in range(patients):
            self._patient(number)
        for table in EICU:
            if table not in ("patient", "hospital"):
                self.add(table, patientunitstayid=1, **dict.fromkeys(self._minutes(table), 5))
                self.draw.shuffle(self.rows[table])

    def add(self, table: str, **values: Any) -> None:
        self.rows[table].append(values)

    def write(self, path: Path, lower: bool = False, gz: bool = True) -> str:
        """As PhysioNet ships them, or in other letters. Returns the folder."""
        path.mkdir(parents=True, exist_ok=True)
        for name, rows in self.rows.items():
            header = self.headers[name]
            file = (name.lower() if lower else name) + (".csv.gz" if gz else ".csv")
            open_text = gzip.open if gz else open
            with open_text(path / file, "wt", newline="") as stream:
                writer = csv.writer(stream)
                writer.writerow([column if lower else column.upper() for column in header])
                writer.writerows([[row.get(column, "") for column in header] for row in rows])
        return str(path)

    def _minutes(self, table: str) -> list[str]:
        return [c for c in self.headers[table] if c.endswith("offset")]

    def _patient(self, number: int) -> None:
        draw = self.draw
        hospital, age = draw.choice((60, 70, 80, 90)), draw.choice((17, 18, 45, 67, 80, "> 89", ""))
        for visit in range(draw.choice((1, 1, 2))):
            ended, begun, first = draw.choice(("Alive", "Alive", "Expired", "")), 0, None
            stays = draw.choice((1, 1, 2))
            lengths = [draw.choice((100, 239, 240, 2879, 2880, 4000)) for _ in range(stays)]
            whole = sum(lengths) + 700 * stays
            for place, length in enumerate(lengths):
                begun += draw.randint(0, 600)
                first = 1000 * number + 100 * visit + place + 141_000
                self.add(
                    "patient",
                    patientunitstayid=first,
                    patienthealthsystemstayid=128_000 + 10 * number + visit,
                    uniquepid=f"{hospital:03}-{33_870 + number}",
                    gender=draw.choice(("Male", "Female", "Unknown", "")),
                    age=age,
                    ethnicity=draw.choice(("Caucasian", "")),
                    hospitalid=hospital,
                    wardid=hospital + 1,
                    admissionheight=draw.choice((170.2, "")),
                    hospitaladmittime24="01:02:00",
                    hospitaladmitoffset=-begun,
                    hospitaladmitsource="Emergency Department",
                    hospitaldischargeyear=draw.choice((2014, 2015)),
                    hospitaldischargeoffset=whole - begun,
                    hospitaldischargestatus=ended,
                    unittype="MICU",
                    unitvisitnumber=place + 1,
                    unitstaytype="admit",
                    admissionweight=draw.choice((80, 71.5, "")),
                    dischargeweight=99.9,
                    unitdischargeoffset=length,
                )
                for table in EICU:
                    if table in SILENT.get(hospital, ()) or table in ("patient", "hospital"):
                        continue
                    for _ in range(draw.choice((0, 3, 8))):
                        self._event(table, first, length)
                begun += length

    def _event(self, table: str, stay: int, length: int) -> None:
        draw = self.draw
        minute = draw.choice((0, 60, draw.randint(-200, length), draw.randint(0, length + 900)))
        if table in ("respiratoryCare", "respiratoryCharting", "infusionDrug", "medication"):
            minute += draw.choice((0, 2880))
        row = {column: draw.choice(values) for column, values in DRAWN[table].items()}
        row |= {"patientunitstayid": stay, self._minutes(table)[0]: minute}
        if table == "medication":
            row |= {"drugorderoffset": minute - 9, "drugstartoffset": minute}
        for _ in range(draw.choice((1, 1, 2))):  # at one minute, with another value now and then
            again = {c: draw.choice(DRAWN[table][c]) for c in AGAIN.get(table, ())}
            self.add(table, **row | again)


NUMBERS = (5, 7.5, 60, "", "1e2")
DRAWN: dict[str, dict[str, tuple[Any, ...]]] = {
    "diagnosis": {
        "diagnosisstring": ("cardiovascular|chf", "pulmonary|copd", ""),
        "icd9code": ("428.0, I50.9", "V45.81, Z95.1", "E878.1", "E11.9,250.00", "", "n/a", "038"),
    },
    "medication": {
        "drugordercancelled": ("Yes", "No", "No"),
        "drugname": ("Aspirin", "NOREPINEPHRINE 4 MG", "Neo-Synephrine spray", "", " heparin "),
        "drughiclseqno": ("1820", "2051", "", "8777"),
        "dosage": ("81 3", "2", ""),
        "routeadmin": ("PO", "IV", ""),
        "frequency": ("daily", ""),
    },
    "infusionDrug": {
        "drugname": ("Norepinephrine (mcg/min)", "Propofol (ml/hr)", "dopamine", "Dobutamine", ""),
        "drugrate": (5, 0, "OFF", "", "2.5", "-1"),
    },
    "respiratoryCare": {
        "currenthistoryseqnum": (1, 2),
        "airwaytype": ("Oral ETT", ""),
        "airwaysize": ("7.5", "8.0 cm", ""),
        "ventstartoffset": (0, -90, 30, 2900, 9000, ""),
        "ventendoffset": (0, 4000),
        "priorventstartoffset": (0, -500),
        "peeplimit": ("", "", "", 5),
        "setapneaippeephigh": ("", 20),
        "cpaplimit": ("", 10),
    },
    "respiratoryCharting": {
        "respchartvaluelabel": ("PEEP", "PEEP/CPAP", "FiO2", "RT Vent On/Off", "Peep high", "TV"),
        "respchartvalue": ("5", "40%", "", "0.4"),
    },
    "lab": {
        "labname": ("glucose", "troponin - I", "PEEP", ""),
        "labresult": NUMBERS,
        "labresulttext": ("", "<1", ">60", " 5 "),
    },
    "customLab": {
        "labothername": ("glucose", "ammonia", "heartrate"),
        "labotherresult": NUMBERS,
        "labothervaluetext": ("", "negative"),
    },
    "vitalPeriodic": {"heartrate": (60, 70, 80, ""), "sao2": (90, ""), "st1": ("", -0.5)},
    "vitalAperiodic": {"noninvasivemean": (60, 65.5, ""), "paop": ("", 12)},
    "nurseCharting": {
        "nursingchartcelltypecat": ("Vital Signs", "Scores", ""),
        "nursingchartcelltypevallabel": ("Heart Rate", "Glasgow coma score", ""),
        "nursingchartcelltypevalname": ("Heart Rate", "Value", ""),
        "nursingchartvalue": ("60", "15", "Unable to score", ""),
    },
    "intakeOutput": {
        "intaketotal": NUMBERS,
        "outputtotal": NUMBERS,
        "dialysistotal": (0,),
        "nettotal": NUMBERS,
        "cellpath": ("flowsheet|Output|Urine", "flowsheet|Intake|Norepinephrine", ""),
        "cellvaluetext": ("250", "x", ""),
    },
    "pastHistory": {"pasthistorypath": ("notes|CHF", "notes|COPD", "")},
    "treatment": {
        "treatmentstring": (
            "cardiovascular|shock|vasopressors|norepinephrine > 0.1 micrograms/kg/min",
            "pulmonary|ventilation and oxygenation|mechanical ventilation",
            "pulmonary|ventilation and oxygenation|oxygen therapy",
            "renal|dialysis",
        )
    },
    "admissionDx": {"admitdxpath": ("admission diagnosis|Sepsis", "admission diagnosis|CABG")},
    "physicalExam": {
        "physicalexampath": ("notes|HR|HR Current", "notes|GCS|scored", ""),
        "physicalexamtext": ("88", "scored", ""),
    },
    "admissionDrug": {
        "drugname": ("ASPIRIN", "EPINEPHRINE PEN", ""),
        "drughiclseqno": ("1820", "2050", ""),
    },
}
AGAIN = {
    "vitalPeriodic": ("heartrate", "sao2"),
    "vitalAperiodic": ("noninvasivemean",),
    "lab": ("labresulttext",),
    "nurseCharting": ("nursingchartvalue",),
    "medication": ("dosage",),
}


@pytest.fixture(scope="session")
def eicu_tables() -> type[EicuTables]:
    return EicuTables
