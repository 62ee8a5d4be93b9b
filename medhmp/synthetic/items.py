"""Items that the synthetic cohort charts: real MIMIC-III item ids, labels and units, as data.

One item per line, fields separated by ``|``. The axis that an item reads, its sign and its strength
are not clinical knowledge: a fixed generator in ``readings`` draws them.
"""

from typing import Final

HEADERS: Final[dict[str, str]] = {
    "PATIENTS": "ROW_ID SUBJECT_ID GENDER DOB DOD DOD_HOSP DOD_SSN EXPIRE_FLAG",
    "ADMISSIONS": (
        "ROW_ID SUBJECT_ID HADM_ID ADMITTIME DISCHTIME DEATHTIME ADMISSION_TYPE "
        "ADMISSION_LOCATION DISCHARGE_LOCATION INSURANCE LANGUAGE RELIGION MARITAL_STATUS "
        "ETHNICITY EDREGTIME EDOUTTIME DIAGNOSIS HOSPITAL_EXPIRE_FLAG HAS_CHARTEVENTS_DATA"
    ),
    "ICUSTAYS": (
        "ROW_ID SUBJECT_ID HADM_ID ICUSTAY_ID DBSOURCE FIRST_CAREUNIT LAST_CAREUNIT "
        "FIRST_WARDID LAST_WARDID INTIME OUTTIME LOS"
    ),
    "CHARTEVENTS": (
        "ROW_ID SUBJECT_ID HADM_ID ICUSTAY_ID ITEMID CHARTTIME STORETIME CGID VALUE VALUENUM "
        "VALUEUOM WARNING ERROR RESULTSTATUS STOPPED"
    ),
    "LABEVENTS": "ROW_ID SUBJECT_ID HADM_ID ITEMID CHARTTIME VALUE VALUENUM VALUEUOM FLAG",
    "INPUTEVENTS_MV": (
        "ROW_ID SUBJECT_ID HADM_ID ICUSTAY_ID STARTTIME ENDTIME ITEMID AMOUNT AMOUNTUOM RATE "
        "RATEUOM STORETIME CGID ORDERID LINKORDERID ORDERCATEGORYNAME "
        "SECONDARYORDERCATEGORYNAME ORDERCOMPONENTTYPEDESCRIPTION ORDERCATEGORYDESCRIPTION "
        "PATIENTWEIGHT TOTALAMOUNT TOTALAMOUNTUOM ISOPENBAG CONTINUEINNEXTDEPT CANCELREASON "
        "STATUSDESCRIPTION COMMENTS_EDITEDBY COMMENTS_CANCELEDBY COMMENTS_DATE ORIGINALAMOUNT "
        "ORIGINALRATE"
    ),
    "OUTPUTEVENTS": (
        "ROW_ID SUBJECT_ID HADM_ID ICUSTAY_ID CHARTTIME ITEMID VALUE VALUEUOM STORETIME CGID "
        "STOPPED NEWBOTTLE ISERROR"
    ),
    "PROCEDUREEVENTS_MV": (
        "ROW_ID SUBJECT_ID HADM_ID ICUSTAY_ID STARTTIME ENDTIME ITEMID VALUE VALUEUOM LOCATION "
        "LOCATIONCATEGORY STORETIME CGID ORDERID LINKORDERID ORDERCATEGORYNAME "
        "SECONDARYORDERCATEGORYNAME ORDERCATEGORYDESCRIPTION ISOPENBAG CONTINUEINNEXTDEPT "
        "CANCELREASON STATUSDESCRIPTION COMMENTS_EDITEDBY COMMENTS_CANCELEDBY COMMENTS_DATE"
    ),
    "DATETIMEEVENTS": (
        "ROW_ID SUBJECT_ID HADM_ID ICUSTAY_ID ITEMID CHARTTIME STORETIME CGID VALUE VALUEUOM "
        "WARNING ERROR RESULTSTATUS STOPPED"
    ),
    "MICROBIOLOGYEVENTS": (
        "ROW_ID SUBJECT_ID HADM_ID CHARTDATE CHARTTIME SPEC_ITEMID SPEC_TYPE_DESC ORG_ITEMID "
        "ORG_NAME ISOLATE_NUM AB_ITEMID AB_NAME DILUTION_TEXT DILUTION_COMPARISON "
        "DILUTION_VALUE INTERPRETATION"
    ),
    "PRESCRIPTIONS": (
        "ROW_ID SUBJECT_ID HADM_ID ICUSTAY_ID STARTDATE ENDDATE DRUG_TYPE DRUG DRUG_NAME_POE "
        "DRUG_NAME_GENERIC FORMULARY_DRUG_CD GSN NDC PROD_STRENGTH DOSE_VAL_RX DOSE_UNIT_RX "
        "FORM_VAL_DISP FORM_UNIT_DISP ROUTE"
    ),
    "DIAGNOSES_ICD": "ROW_ID SUBJECT_ID HADM_ID SEQ_NUM ICD9_CODE",
    "NOTEEVENTS": (
        "ROW_ID SUBJECT_ID HADM_ID CHARTDATE CHARTTIME STORETIME CATEGORY DESCRIPTION CGID "
        "ISERROR TEXT"
    ),
    "D_ITEMS": (
        "ROW_ID ITEMID LABEL ABBREVIATION DBSOURCE LINKSTO CATEGORY UNITNAME PARAM_TYPE CONCEPTID"
    ),
    "D_LABITEMS": "ROW_ID ITEMID LABEL FLUID CATEGORY LOINC_CODE",
    "D_ICD_DIAGNOSES": "ROW_ID ICD9_CODE SHORT_TITLE LONG_TITLE",
}
"""All columns of MIMIC-III v1.4, in its order."""

VITALS: Final = """
220045|Heart Rate|Routine Vital Signs|bpm|85|12|0
220179|Non Invasive Blood Pressure systolic|Routine Vital Signs|mmHg|122|16|0
220180|Non Invasive Blood Pressure diastolic|Routine Vital Signs|mmHg|65|11|0
220210|Respiratory Rate|Respiratory|insp/min|19|4|0
220277|O2 saturation pulseoxymetry|Respiratory|%|95|2.2|0
223761|Temperature Fahrenheit|Routine Vital Signs|?F|98.8|1.1|1
"""
"""Charted in every unit: id, label, category, unit, mean, SD, decimals."""

UNIT_ITEMS: Final = {
    "MICU": """
223834|O2 Flow|Respiratory|L/min
224695|Peak Insp. Pressure|Respiratory|cmH2O
224696|Plateau Pressure|Respiratory|cmH2O
224697|Mean Airway Pressure|Respiratory|cmH2O
224701|PSV Level|Respiratory|cmH2O
224419|Negative Insp. Force|Respiratory|cmH2O
224421|Spont Vt|Respiratory|mL
224422|Spont RR|Respiratory|bpm
224417|Cuff Pressure|Respiratory|cmH2O
224689|Respiratory Rate (spontaneous)|Respiratory|insp/min
224738|Inspiratory Time|Respiratory|sec
220283|Resistance|Respiratory|cmH2O/L/seconds
224691|Flow Rate (L/min)|Respiratory|L/min
223872|Inspired Gas Temp.|Respiratory|?C
224144|Blood Flow (ml/min)|Dialysis|ml/min
224149|Access Pressure|Dialysis|mmHg
224150|Filter Pressure|Dialysis|mmHg
224151|Effluent Pressure|Dialysis|mmHg
224152|Return Pressure|Dialysis|mmHg
224153|Replacement Rate|Dialysis|ml/hr
224154|Dialysate Rate|Dialysis|ml/hr
224191|Hourly Patient Fluid Removal|Dialysis|mL
226457|Ultrafiltrate Output|Dialysis|mL
223876|Apnea Interval|Respiratory|sec
""",
    "SICU": """
228176|CFI (PiCCO)|PiCCO|L/min
228177|CI (PiCCO)|PiCCO|L/min/m2
228178|CO (PiCCO)|PiCCO|L/min
228179|ELWI (PiCCO)|PiCCO|ml/kg
228180|GEDI (PiCCO)|PiCCO|mL/m2
228181|ITBVI (PiCCO)|PiCCO|mL/m2
228182|SVI (PiCCO)|PiCCO|mL/m2
228184|SVV (PiCCO)|PiCCO|%
228185|SVRI (PiCCO)|PiCCO|dynes.sec.cm-5/m2
223763|Bladder Pressure|Routine Vital Signs|mmHg
226226|Enteral Nutriton Residuals|Nutrition - Enteral|
227586|GI pH|GI/GU|
226183|Estimated Energy Needs/Kg|General|kcal/kg
226184|Estimated Protein Needs/Kg|General|g/kg
224366|Epidural Infusion Rate (mL/hr)|Pain/Sedation|ml/hr
224367|Epidural Total Dose (mL)|Pain/Sedation|mL
224331|PCA basal rate (mL/hour)|Pain/Sedation|ml/hr
224328|PCA dose|Pain/Sedation|
224330|PCA 1 hour limit|Pain/Sedation|
224665|PCA total dose|Pain/Sedation|
224663|PCA attempt|Pain/Sedation|
228444|BIS Index Range|Pain/Sedation|
226170|Head of Bead Measurement|Treatments|Degree
224562|Impaired Skin Length #1|Skin - Impairment|cm
""",
    "CCU": """
224309|Assisted Systole|IABP|mmHg
224310|Augmented Diastole|IABP|mmHg
224311|BAEDP|IABP|mmHg
224322|IABP Mean|IABP|mmHg
224652|Unassisted Systole|IABP|mmHg
224654|PAEDP|IABP|mmHg
228151|Aortic Pressure Signal - Diastolic|Impella|
228152|Aortic Pressure Signal - Systolic|Impella|
228154|Impella 2.5 Flow Rate|Impella|L/min
228158|Purge Pressure|Impella|mmHg
228159|Purge Solution Flow Rate|Impella|ml/hr
220059|Pulmonary Artery Pressure systolic|Hemodynamics|mmHg
220060|Pulmonary Artery Pressure diastolic|Hemodynamics|mmHg
220061|Pulmonary Artery Pressure mean|Hemodynamics|mmHg
223771|PCWP|Hemodynamics|mmHg
223772|SvO2|Hemodynamics|%
220088|Cardiac Output (thermodilution)|Hemodynamics|L/min
226272|EF (CCO)|Hemodynamics|%
226849|RA (mean) pressure (PA Line)|PA Line Insertion|mmHg
226850|RV systolic pressure(PA Line)|PA Line Insertion|mmHg
226851|RV diastolic pressure(PA Line)|PA Line Insertion|mmHg
226852|PA systolic pressure(PA Line)|PA Line Insertion|mmHg
226853|PA diastolic pressure(PA Line)|PA Line Insertion|mmHg
226857|PA mean pressure (PA Line)|PA Line Insertion|mmHg
""",
    "CSRU": """
220074|Central Venous Pressure|Hemodynamics|mmHg
220069|Left Artrial Pressure|Hemodynamics|mmHg
224842|Cardiac Output (CCO)|Hemodynamics|L/min
227543|CO (Arterial)|Hemodynamics|L/min
227546|SVV (Arterial)|Hemodynamics|%
227547|SV (Arterial)|Hemodynamics|mL/beat
227549|ScvO2 (Presep)|Hemodynamics|%
220125|Left Ventricular Assit Device Flow|Hemodynamics|L/min
220128|Right Ventricular Assist Device Flow|Hemodynamics|L/min
223775|VAD Beat Rate R|Hemodynamics|bpm
224363|VAD Beat Rate L|Hemodynamics|bpm
224660|ECMO|Hemodynamics|L/min
228195|Pump Speed|Tandem Heart|
228198|Tandem Heart Flow|Tandem Heart|L/min
228192|Oxygenator Sweep Rate|Tandem Heart|L/min
220194|Temporary AV interval|Cardiovascular (Pacer Data)|msec
223958|Temporary Venticular Sens Threshold mV|Cardiovascular (Pacer Data)|mV
223960|Temporary Venticular Stim Threshold mA|Cardiovascular (Pacer Data)|mA
224751|Temporary Pacemaker Rate|Cardiovascular (Pacer Data)|bpm
224752|Temporary Atrial Sens Threshold mV|Cardiovascular (Pacer Data)|mV
224753|Temporary Atrial Sens Setting mV|Cardiovascular (Pacer Data)|mV
224754|Temporary Atrial Stim Threshold mA|Cardiovascular (Pacer Data)|mA
224755|Temporary Atrial Stim Setting mA|Cardiovascular (Pacer Data)|mA
224837|Temporary Ventricular Sens Setting mV|Cardiovascular (Pacer Data)|mV
""",
    "TSICU": """
220765|Intra Cranial Pressure|Hemodynamics|mmHg
227989|Intra Cranial Pressure #2|Hemodynamics|mmHg
227066|Cerebral Perfusion Pressure|Hemodynamics|mmHg
228368|Cardiac Index (CI NICOM)|NICOM|L/min/m2
228369|Cardiac Output (CO NICOM)|NICOM|L/min
228370|CO / CI Change|NICOM|%
228371|DO2I (NICOM)|NICOM|mL/min/m2
228374|Stroke Volume (SV NICOM)|NICOM|mL/beat
228375|Stroke Volume Index (SVI NICOM)|NICOM|%
228376|Stroke Volume Variation (SVV NICOM)|NICOM|
228377|SVI Change|NICOM|%
228378|TFCd (NICOM)|NICOM|%
228380|Thoracic Fluid Content (TFC) (NICOM)|NICOM|
228381|Total Peripheral Resistance (TPR) (NICOM)|NICOM|dynes*sec/cm5
228382|Total Peripheral Resistance Index (TPRI) (NICOM)|NICOM|dynes*sec/cm5/m2
227632|Arctic Sun/Alsius Temp #1 C|Routine Vital Signs|?C
227627|Arctic Sun/Alsius Set Temp|Treatments|?C
227628|Arctic Sun Water Temp|Treatments|?C
224661|Baseline Current/mA|Pain/Sedation|mA
227775|Skeletal Traction #1 - Pounds|Treatments|lbs
228640|EtCO2|Routine Vital Signs|
223764|Orthostatic HR lying|Routine Vital Signs|bpm
223766|Orthostatic BPs standing|Routine Vital Signs|mmHg
224746|Transpulmonary Pressure (Exp. Hold)|Respiratory|cmH2O
""",
}
"""Charted in one care unit only: id, label, category, unit."""

TYPICAL: Final = """
|30|9|0
%|60|10|0
?C|36|1.5|1
?F|98|1.2|1
Degree|35|9|0
L/min|5|1.2|1
L/min/m2|3|0.7|1
bpm|80|11|0
cm|4|1.1|1
cmH2O|15|4.5|0
cmH2O/L/seconds|12|3.5|0
dynes*sec/cm5|1100|220|0
dynes*sec/cm5/m2|2000|380|0
dynes.sec.cm-5/m2|2000|380|0
g/kg|1.4|0.3|1
insp/min|19|4.5|0
kcal/kg|26|5|0
lbs|20|5|0
mA|10|2.6|1
mL|150|45|0
mL/beat|65|14|0
mL/m2|700|120|0
mL/min/m2|450|80|0
mV|4|1.1|1
ml/hr|60|18|0
ml/kg|8|2|1
ml/min|200|45|0
mmHg|40|10|0
msec|160|25|0
sec|20|5|0
"""
"""Mean, SD and decimals of a unit-specific item, by its unit of measurement."""

TEXT_ITEMS: Final = """
220048|Heart Rhythm|Routine Vital Signs|cardiovascular
224650|Ectopy Type 1|Routine Vital Signs|
220739|GCS - Eye Opening|Neurological|neurological
223900|GCS - Verbal Response|Neurological|neurological
223901|GCS - Motor Response|Neurological|neurological
226104|Level of Consciousness|Neurological|neurological
223986|RUL Lung Sounds|Pulmonary|respiratory
224084|Activity|Treatments|
"""
"""Text-valued chart items: id, label, category, axis."""

TEXT_VALUES: Final[dict[int, tuple[str, ...]]] = {
    220048: (
        "SB (Sinus Bradycardia)",
        "SR (Sinus Rhythm)",
        "ST (Sinus Tachycardia)",
        "AF (Atrial Fibrillation)",
    ),
    224650: ("None", "PAC's", "PVC's"),
    220739: ("Spontaneously", "To Speech", "To Pain", "No Response"),
    223900: ("Oriented", "Confused", "Inappropriate Words", "No Response"),
    223901: ("Obeys Commands", "Localizes Pain", "Flex-withdraws", "No response"),
    226104: ("Alert", "Arouse to Voice", "Arouse to Stimulation", "Unresponsive"),
    223986: ("Clear", "Diminished", "Rhonchi", "Crackles"),
    224084: ("Bedrest", "Chair", "Dangle"),
}
"""Their values, in the order of severity."""

ONCE_ITEMS: Final = """
226707|Height|General|Inch|67|4|0
226512|Admission Weight (Kg)|General|kg|81|17|1
"""
"""Charted once, at the start of a stay: id, label, category, unit, mean, SD, decimals."""

OTHER_CHART_ITEMS: Final = """
220339|PEEP set|Respiratory|cmH2O
220615|Creatinine|Labs|None
"""
"""The setting that marks ventilation, and a lab result repeated in the chart."""

LABS: Final = """
50911|Creatine Kinase, MB Isoenzyme|Blood|Chemistry|6773-6|ng/mL|8|2.5|0|cardiovascular
51003|Troponin T|Blood|Chemistry|6598-7|ng/mL|0.25|0.08|2|cardiovascular
50910|Creatine Kinase (CK)|Blood|Chemistry|2157-6|IU/L|180|50|0|cardiovascular
50960|Magnesium|Blood|Chemistry|2601-3|mg/dL|2.0|0.3|1|cardiovascular
50818|pCO2|Blood|Blood Gas|11557-6|mm Hg|42|8|0|respiratory
50821|pO2|Blood|Blood Gas|11556-8|mm Hg|105|26|0|-respiratory
50820|pH|Blood|Blood Gas|11558-4|units|7.38|0.06|2|-respiratory
50804|Calculated Total CO2|Blood|Blood Gas|34728-6|mEq/L|25|4|0|respiratory
50912|Creatinine|Blood|Chemistry|2160-0|mg/dL|1.5|0.45|1|renal
51006|Urea Nitrogen|Blood|Chemistry|3094-0|mg/dL|30|9|0|renal
50971|Potassium|Blood|Chemistry|2823-3|mEq/L|4.2|0.5|1|renal
50882|Bicarbonate|Blood|Chemistry|1963-8|mEq/L|24|4|0|-renal
50885|Bilirubin, Total|Blood|Chemistry|1975-2|mg/dL|1.6|0.5|1|hepatic
50861|Alanine Aminotransferase (ALT)|Blood|Chemistry|1742-6|IU/L|70|22|0|hepatic
50878|Asparate Aminotransferase (AST)|Blood|Chemistry|1920-8|IU/L|75|24|0|hepatic
51237|INR(PT)|Blood|Hematology|5895-7||1.5|0.3|1|hepatic
51301|White Blood Cells|Blood|Hematology|804-5|K/uL|11|3|1|inflammatory
51256|Neutrophils|Blood|Hematology|761-7|%|76|8|0|inflammatory
50813|Lactate|Blood|Blood Gas|32693-4|mmol/L|2.3|0.7|1|inflammatory
51265|Platelet Count|Blood|Hematology|777-3|K/uL|210|60|0|-inflammatory
50931|Glucose|Blood|Chemistry|2345-7|mg/dL|135|32|0|neurological
50983|Sodium|Blood|Chemistry|2951-2|mEq/L|139|4|0|-neurological
50893|Calcium, Total|Blood|Chemistry|2000-8|mg/dL|8.4|0.6|1|-neurological
50868|Anion Gap|Blood|Chemistry|1863-0|mEq/L|14|3|0|neurological
"""
"""Id, label, fluid, category, LOINC, unit, mean, SD, decimals, axis (minus: falls with it)."""

TEXT_LABS: Final = """
51506|Urine Appearance|Urine|Hematology|5767-9|Clear;Hazy;Cloudy
51508|Urine Color|Urine|Hematology|5778-6|Yellow;Straw;Amber
"""
"""Id, label, fluid, category, LOINC, values."""

INPUTS: Final = """
225158|NaCl 0.9%|Fluids/Intake|ml|Continuous Med|01-Drips|200|0.8|
220949|Dextrose 5%|Fluids/Intake|ml|Continuous Med|01-Drips|150|0.7|
225944|Sterile Water|Fluids/Intake|ml|Continuous Med|01-Drips|120|0.3|
225943|Solution|Fluids/Intake|ml|Continuous Med|01-Drips|80|0.3|
225828|LR|Fluids/Intake|ml|Continuous IV|02-Fluids (Crystalloids)|300|0.35|-cardiovascular
226089|Piggyback|Fluids/Intake|ml|Continuous IV|02-Fluids (Crystalloids)|100|0.3|
225166|Potassium Chloride|Medications|mEq|Continuous IV|02-Fluids (Crystalloids)|20|0.35|
222011|Magnesium Sulfate|Medications|grams|Continuous IV|02-Fluids (Crystalloids)|2|0.25|
225168|Packed Red Blood Cells|Blood Products/Colloids|ml|Continuous IV|07-Blood Products|320|0.15|
222168|Propofol|Medications|mg|Continuous Med|01-Drips|400|0.3|
221794|Furosemide (Lasix)|Medications|mg|Continuous Med|01-Drips|40|0.25|renal
225152|Heparin Sodium|Medications|units|Continuous Med|01-Drips|4000|0.25|
221668|Midazolam (Versed)|Medications|mg|Drug Push|05-Med Bolus|2|0.25|
221744|Fentanyl|Medications|mcg|Drug Push|05-Med Bolus|50|0.35|
225974|Metoprolol|Medications|mg|Drug Push|05-Med Bolus|5|0.25|
225154|Morphine Sulfate|Medications|mg|Drug Push|05-Med Bolus|3|0.25|
223258|Insulin - Regular|Medications|units|Drug Push|06-Insulin (Non IV)|6|0.5|neurological
223262|Insulin - Humalog|Medications|units|Drug Push|06-Insulin (Non IV)|5|0.2|neurological
225975|Heparin Sodium (Prophylaxis)|Medications|dose|Drug Push|11-Prophylaxis (Non IV)|1|0.5|
225910|Pantoprazole (Protonix)|Medications|dose|Drug Push|10-Prophylaxis (IV)|1|0.4|
225798|Vancomycin|Antibiotics|dose|Drug Push|08-Antibiotics (IV)|1|0.4|
225893|Piperacillin/Tazobactam (Zosyn)|Antibiotics|dose|Drug Push|08-Antibiotics (IV)|1|0.25|
225883|Meropenem|Antibiotics|dose|Drug Push|08-Antibiotics (IV)|1|0.15|
225799|Gastric Meds|Fluids/Intake|ml|Bolus|14-Oral/Gastric Intake|60|0.4|
226453|GT Flush|Fluids/Intake|ml|Bolus|14-Oral/Gastric Intake|30|0.2|
226452|PO Intake|Fluids/Intake|ml|Bolus|14-Oral/Gastric Intake|180|0.4|-neurological
"""
"""Id, label, category, amount unit, order category, order group, amount, share of stays, axis
that the amount follows."""

VASOPRESSORS: Final = """
221906|Norepinephrine|Medications|mg|4
221289|Epinephrine|Medications|mg|2
221662|Dopamine|Medications|mg|200
222315|Vasopressin|Medications|units|10
221749|Phenylephrine|Medications|mg|15
"""
"""Id, label, category, amount unit, amount."""

OUTPUTS: Final = """
226559|Foley|Output|mL|1.5|90|0.7
226560|Void|Output|mL|4|250|0.3
226588|Chest Tube #1|Output|mL|4|40|0.12
226579|Stool|Output|mL|12|150|0.25
226582|Ostomy (output)|Output|mL|8|120|0.06
227510|TF Residual|Output|mL|6|25|0.15
"""
"""Id, label, category, unit, hours between readings, volume, share of stays."""

PROCEDURES: Final = """
225459|Chest X-Ray|5-Imaging|0|Imaging|0.6
221214|CT scan|5-Imaging|0|Imaging|0.3
225432|Transthoracic Echo|5-Imaging|0|Procedures|0.2
221217|Ultrasound|5-Imaging|0|Procedures|0.15
225402|EKG|4-Procedures|0|Procedures|0.5
225400|Bronchoscopy|4-Procedures|0|Procedures|0.08
225401|Blood Cultured|6-Cultures|0|Procedures|0.35
225454|Urine Culture|6-Cultures|0|Procedures|0.3
225451|Sputum Culture|6-Cultures|0|Procedures|0.2
225966|Nasal Swab|6-Cultures|0|Procedures|0.25
224275|20 Gauge|Access Lines - Peripheral|1|Peripheral Lines|0.6
224277|18 Gauge|Access Lines - Peripheral|1|Peripheral Lines|0.5
224274|22 Gauge|Access Lines - Peripheral|1|Peripheral Lines|0.2
224263|Multi Lumen|Access Lines - Invasive|1|Invasive Lines|0.35
225752|Arterial Line|Access Lines - Invasive|1|Invasive Lines|0.4
224264|PICC Line|Access Lines - Invasive|1|Invasive Lines|0.12
"""
"""Id, label, category, 1 if it lasts, order group, share of stays."""

VENTILATION: Final = """
225792|Invasive Ventilation|2-Ventilation|1|Ventilation
225794|Non-invasive Ventilation|2-Ventilation|1|Ventilation
"""

DATES: Final = """
224280|Multi Lumen Insertion Date|Access Lines - Invasive|Date
224279|Multi Lumen Dressing Change|Access Lines - Invasive|Date and Time
224282|Multi Lumen Tubing Change|Access Lines - Invasive|Date
224261|Multi Lumen Cap Change|Access Lines - Invasive|Date
225754|20 Gauge Insertion Date|Access Lines - Peripheral|Date
225755|18 Gauge Insertion Date|Access Lines - Peripheral|Date
224288|Arterial line Insertion Date|Access Lines - Invasive|Date
224290|Arterial line Tubing Change|Access Lines - Invasive|Date
224287|Arterial Line Dressing Change|Access Lines - Invasive|Date and Time
224284|Arterial line Cap Change|Access Lines - Invasive|Date
"""
"""Date-valued items: id, label, category, unit."""

SPECIMENS: Final = """
70012|BLOOD CULTURE|0.3
70079|URINE|0.25
70062|SPUTUM|0.18
70091|MRSA SCREEN|0.15
70070|SWAB|0.07
70064|STOOL|0.05
"""
"""Id, name, share of specimens."""

ORGANISMS: Final = """
80002|ESCHERICHIA COLI
80023|STAPH AUREUS COAG +
80017|PROTEUS MIRABILIS
80004|KLEBSIELLA PNEUMONIAE
80026|PSEUDOMONAS AERUGINOSA
"""


def fields(block: str) -> list[list[str]]:
    """Splits the lines of a block above into their fields."""
    return [line.split("|") for line in block.strip("\n").split("\n")]
