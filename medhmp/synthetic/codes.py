"""Codes and drugs of the synthetic cohort: ICD-9-CM codes and drug names, as data.

Every code is a leaf of the ICD-9-CM tree. Those of ``LATE_CODES`` no condition has.
"""

from typing import Final

from medhmp.legend import PatientTask

CONDITION_CODES: Final[dict[str, str]] = {
    "coronary": """
        4010 4011 4019 41001 41011 41021 41031 41041 41051 41061 41071 41081 41091 4110 4111 41181
        41189 412 4130 4131 4139 41400 41401 41402 41403 41404 41405 41410 4142 4148
    """,
    "lung": """
        135 490 49300 49301 49302 49310 49311 49312 49381 49382 49390 49391 49392 4940 4941 4954
        4957 4958 4959 500 501 502 505 5064 5081 515 51630 51883 V4611 V462
    """,
    "diabetes": """
        25000 25001 25002 25003 25010 25011 25012 25013 25020 25022 25030 25032 25040 25041 25042
        25043 25050 25051 25052 25060 25061 25062 25063 25070 25072 25080 25082 3572 36201 V5867
    """,
    "ckd": """
        40300 40301 40310 40311 40390 40391 5811 5812 58181 5820 5821 5822 5829 5830 5831 58381 5851
        5852 5853 5854 5855 5856 5859 587 5880 58881 V4511 V4512 V560 V568
    """,
    "liver": """
        07030 07032 07044 07051 07054 07070 07071 4560 4561 45620 45621 5712 5713 57140 57141 57142
        57149 5715 5716 5718 5719 5720 5721 5722 5723 5724 5728 5733 5738 78959
    """,
    "cancer": """
        1505 1510 1519 1531 1533 1536 1539 1540 1570 1579 1623 1625 1629 1744 1749 1830 185 1888
        1890 1911 1919 1961 1962 1970 1972 1976 1977 1983 1985 19889
    """,
    "dementia": """
        2900 29010 29011 29012 29013 29020 29021 2903 29040 29041 29042 29043 2908 29410 29411 29420
        29421 2948 3109 3310 33111 33119 3312 3314 33182 33189 3320 3321 797 V400
    """,
    "alcohol": """
        2910 2911 2912 2913 2914 2915 29181 29182 29189 2919 30300 30301 30302 30303 30390 30391
        30392 30393 30500 30501 30502 30503 3575 4255 53530 53531 5710 5711 9800 V113
    """,
}
"""Thirty diagnosis codes of each chronic condition."""

ACUTE_CODES: Final[dict[str, str]] = {
    "cardiovascular": "4275 42732 4271 42741 4260 42611 4580 4588 4233 78551 7850 42781",
    "respiratory": "51881 51882 51884 5121 514 78603 78609 7991 51911 4821 48241 5109",
    "renal": "5845 5848 5849 2762 2763 2764 2767 2769 27669 2760 5939 78820",
    "hepatic": "570 2866 2869 28749 7824 5762 5768 79092 2851 5780 28800 7904",
    "inflammatory": "0380 03811 99591 99592 78552 00845 56722 5679 6827 03843 03840 99662",
    "neurological": "34830 34831 34982 430 431 43411 78001 78009 3485 78097 34889 34510",
}
"""Twelve diagnosis codes of each acute axis, for stays where it ends high."""

BACKGROUND_CODES: Final = """
    0088 03842 0389 04111 04149 1121 1125 2111 2113 2189 2252 2273 2411 2440 2449 2541 2720 2721
    2724 2749 2753 2761 2768 27800 2809 28521 2859 2875 2930 29620 30000 30400 3051 311 32723 3453
    34590 3501 3569 36504 3659 3804 38610 3899 41519 4240 4241 42731 42789 4329 43310 43491 4412
    4414 44020 44422 4553 45829 4590 4660 4770 4829 486 5070 5110 5119 5180 51889 5206 53081 53140
    53550 5409 5521 5533 5589 5601 56210 56400 56881 5693 57410 5750 5761 5770 5789 5920 5990 60000
    6020 6111 6266 6820 6826 6930 70703 7080 7100 7140 71536 71690 7242 72252 72887 7291 73300 7454
    7802 78039 7804 78060 7812 7840 78701 7881 79029 80501 80841 8052 80701 81201 81342 82009 82300
    82525 8400 85220 8600 86402 86504 8730 87342 88100 8910 9190 92411 9330 9352 95901 9654 9694
    99659 99811 99859 9992 E8120 E8490 E8788 E8809 E8859 E9331 E9342 V1005 V1046 V1251 V1301 V1582
    V163 V173 V202 V270 V4365 V4501 V4581 V4589 V4972 V5861 V5866 V642 V667 V8535
"""
"""Diagnoses unrelated to any condition or outcome."""

LATE_CODES: Final[dict[PatientTask, str]] = {
    "heart_failure": """
        4280 4281 42820 42821 42822 42823 42830 42831 42832 42833 42840 42841 42842 42843 4289
    """,
    "copd": "4910 4911 49120 49121 49122 4918 4919 4920 4928 496",
    "amnesia": "2940 30012 4377 78093",
}
"""Diagnoses of the patient tasks, one of which the late admission of a case has."""

CONDITION_DRUGS: Final[dict[str, str]] = {
    "coronary": (
        "Aspirin|Metoprolol Tartrate|Atorvastatin|Clopidogrel|Nitroglycerin SL|Lisinopril|"
        "Amlodipine|Isosorbide Mononitrate|Simvastatin|Diltiazem|Carvedilol|Hydralazine HCl"
    ),
    "lung": (
        "Albuterol 0.083% Neb Soln|Ipratropium Bromide Neb|Tiotropium Bromide|"
        "Fluticasone-Salmeterol|PredniSONE|Montelukast|Theophylline SR|Guaifenesin|Budesonide|"
        "Albuterol Inhaler|Fluticasone Propionate|MethylPREDNISolone"
    ),
    "diabetes": (
        "Insulin Glargine|Insulin Lispro|MetFORMIN|GlipiZIDE|GlyBURIDE|Pioglitazone|Sitagliptin|"
        "NPH Insulin|Glucagon|Dextrose 50%|Glimepiride|Gabapentin"
    ),
    "ckd": (
        "Sevelamer|Calcium Acetate|Epoetin Alfa|Nephrocaps|Calcitriol|Cinacalcet|Lanthanum|"
        "Sodium Bicarbonate|Paricalcitol|Ferric Gluconate|Darbepoetin Alfa|"
        "Sodium Polystyrene Sulfonate"
    ),
    "liver": (
        "Lactulose|Rifaximin|Spironolactone|Nadolol|Albumin 25% (12.5g / 50mL)|Ursodiol|"
        "Octreotide Acetate|Phytonadione|Midodrine|Propranolol|Entecavir|Zinc Sulfate"
    ),
    "cancer": (
        "Ondansetron|Dexamethasone|Filgrastim|Fentanyl Patch|OxycoDONE SR (OxyconTIN)|"
        "Prochlorperazine|Megestrol Acetate|Allopurinol|Acyclovir|Sulfameth/Trimethoprim DS|"
        "Leucovorin Calcium|Aprepitant"
    ),
    "dementia": (
        "Donepezil|Memantine|Rivastigmine|QUEtiapine Fumarate|Haloperidol|OLANZapine|"
        "Carbidopa-Levodopa|Galantamine|TraZODONE|RisperiDONE|Mirtazapine|Melatonin"
    ),
    "alcohol": (
        "Thiamine|FoLIC Acid|Lorazepam|Diazepam|Multivitamins|ChlordiazePOXIDE|Naltrexone|"
        "Disulfiram|Acamprosate|CloniDINE|Phenobarbital|Oxazepam"
    ),
}
"""Twelve drugs of each chronic condition."""

ACUTE_DRUGS: Final[dict[str, str]] = {
    "cardiovascular": (
        "Amiodarone|Digoxin|Esmolol|Labetalol|Milrinone|Procainamide|Adenosine|DOBUTamine"
    ),
    "respiratory": (
        "Propofol|Midazolam|Cisatracurium Besylate|Acetylcysteine 20%|Racepinephrine|"
        "Vecuronium Bromide|Doxycycline Hyclate|Azithromycin"
    ),
    "renal": (
        "Bumetanide|Chlorothiazide|Torsemide|Mannitol 20%|Metolazone|AcetaZOLamide|"
        "Potassium Phosphate|Neutra-Phos"
    ),
    "hepatic": (
        "Desmopressin Acetate|Aminocaproic Acid|Protamine Sulfate|Cholestyramine|Argatroban|"
        "Vitamin K|Tranexamic Acid|Cyanocobalamin"
    ),
    "inflammatory": (
        "Meropenem|CefePIME|Linezolid|Ciprofloxacin IV|Caspofungin|Tobramycin Sulfate|"
        "Hydrocortisone Na Succ.|Ampicillin-Sulbactam"
    ),
    "neurological": (
        "LeVETiracetam|Phenytoin Sodium|Nimodipine|Dexmedetomidine HCl|Valproate Sodium|"
        "Fosphenytoin|Physostigmine|Flumazenil"
    ),
}
"""Eight drugs of each acute axis."""

BACKGROUND_DRUGS: Final = (
    "Acetaminophen|Docusate Sodium|Senna|Bisacodyl|Heparin|Pantoprazole|Famotidine|"
    "Potassium Chloride|Magnesium Sulfate|Calcium Gluconate|Morphine Sulfate|"
    "HYDROmorphone (Dilaudid)|Vancomycin|Levofloxacin|CefTRIAXone|Piperacillin-Tazobactam Na|"
    "Metronidazole|Furosemide|Levothyroxine Sodium|Warfarin|Enoxaparin Sodium|"
    "Sodium Chloride 0.9%  Flush|D5W|NS|LR|Zolpidem Tartrate|DiphenhydrAMINE|Milk of Magnesia|"
    "Simethicone|Nystatin Oral Suspension|Miconazole Powder 2%|"
    "Chlorhexidine Gluconate 0.12% Oral Rinse|Influenza Virus Vaccine|Pneumococcal Vac Polyvalent|"
    "Citalopram|Sertraline|Tamsulosin|Latanoprost 0.005% Ophth. Soln.|Artificial Tears|"
    "Fluconazole"
)
"""Drugs unrelated to any condition or outcome."""
