"""A synthetic cohort in the shape of MIMIC-III v1.4, with planted and documented signal.

It stands in where credentialed data is not available. Identifiers of items, codes and drugs are
real. Their meaning here is not clinical knowledge, and nothing learnt here holds for patients.
Names in capitals are constants of ``signal``.

A patient has eight chronic conditions c in {0, 1}, each with log-odds that rise with age
(``PREVALENCE``, ``AGE_TREND``). Each condition has thirty diagnosis codes and twelve drugs of its
own. An admission draws three or four of the codes and two or three of the drugs. So a single code
is rare, and only co-occurrence shows which codes mean the same condition. Meaningless codes and
drugs fill up to a total that is drawn independently of everything (``CODES_TOTAL``,
``DRUGS_TOTAL``), so that their number carries no signal.

A stay has six acute axes, each a level and a slope over the first 48 hours,

    z = (c - PREVALENCE) SHIFT + MILDER back + N(0, 1),    s = N(0, SLOPE^2),
    x = (z + s) / sqrt(1 + SLOPE^2),

with back = 1 in an admission within 30 days of a discharge. So x is the position of an axis at the
end of the window. An axis that ends high is coded, treated and written about, each decided
independently and with error (``HIGH``). So codes, drugs, note and charts of one admission reflect
both the conditions and the course of the stay. The axes are cardiovascular, respiratory, renal,
hepatic, inflammatory and neurological.
Every care unit charts items of its own besides the common vital signs, so the set of charted items
reveals the unit and no more. Item j of a stay reads, t hours after unit admission,

    value = mean_j + sd_j (w_j . (z + s clip((t - 24) / 24, -1.5, 1.5)) + o_j + e),

o_j ~ N(0, OFFSET^2) once per stay and item, e ~ N(0, NOISE^2) at every reading. The loading w_j
of a unit's item is on one axis, with a sign and strength drawn once for all runs. As few stays of
each unit are labelled, mostly unlabelled stays can show which items move together.

Outcomes are drawn from the logistic of these log-odds (weights omitted, see ``signal``):

    arf             x_resp + z_infl + x_resp z_infl + lung
    shock           x_card + x_infl + x_card x_infl
    mortality       x_resp + x_renal + x_hep + x_neuro + x_renal x_hep + x_card x_neuro
                    + age + cancer
    readmission     lung + ckd + liver + alcohol - coronary - diabetes - cancer - dementia
                    + x_renal + x_infl
                    + lung x_resp + ckd x_renal + alcohol x_neuro
    heart_failure   coronary + diabetes + ckd + coronary ckd + coronary diabetes
    copd            lung + cancer + alcohol + lung alcohol + lung cancer
    amnesia         diabetes + dementia + alcohol + dementia alcohol + dementia diabetes

Mortality uses the first stay of the admission, readmission the last, the last three the patient
alone. An outcome is drawn first; its marks in the tables follow. Respiratory failure and shock
begin after hour 48 of the stay, except in a few stays, drawn independently of everything, where
they begin before and so leave the cohort. Deaths are at discharge, 48 hours or more after unit
admission. A readmission is unplanned and follows after 2 to 29 days; without one only a few planned
admissions follow within 30 days. The last three are first coded at a patient's last admission, more
than 200 days after the previous discharge, and no condition shares their codes. So the AUROC of
``truth.parquet`` against the labels is the best achievable.
"""

from medhmp.synthetic.write import synthesize

__all__ = ["synthesize"]
