"""A synthetic cohort in the shape of MIMIC-III v1.4, with planted and documented signal.

It stands in where no credentialed data is at hand. Identifiers of items, codes and drugs are
real; what they are made to mean is not clinical knowledge, and nothing learnt here holds for
patients. The constants below are in ``signal``, under the names in capitals.

A patient has eight chronic conditions c in {0, 1}, each with log-odds that rise with age
(``PREVALENCE``, ``AGE_TREND``). Each condition has thirty diagnosis codes and twelve drugs of its
own, and an admission draws three or four of the codes and two or three of the drugs: a single
code is rare, and which codes mean the same thing shows only in their company. Codes and drugs
that mean nothing fill up to a total drawn apart from everything (``CODES_TOTAL``,
``DRUGS_TOTAL``), so that how many there are says nothing.

A stay has six acute axes, each a level and a slope over the first 48 hours,

    z = (c - PREVALENCE) SHIFT + MILDER back + N(0, 1),    s = N(0, SLOPE^2),
    x = (z + s) / sqrt(1 + SLOPE^2),

with back = 1 in an admission within 30 days of a discharge. So x is where an axis stands at the
end of the window. An axis that ends high is coded, treated and written about, each apart and with
error (``HIGH``), so codes, drugs, note and charts of one admission share both what the conditions
do and how the stay went. The axes are the cardiovascular, respiratory, renal, hepatic,
inflammatory and neurological.
Every care unit charts items of its own besides the common vital signs, so what is charted says
which unit it is and no more. Item j of a stay reads, t hours after unit admission,

    value = mean_j + sd_j (w_j . (z + s clip((t - 24) / 24, -1.5, 1.5)) + o_j + e),

o_j ~ N(0, OFFSET^2) once per stay and item, e ~ N(0, NOISE^2) at every reading. The loadings w_j
of a unit's item are on one axis, with sign and strength dealt out once for all runs; with
few labelled stays of each unit, it is the unlabelled ones that can tell which items move together.

Outcomes are drawn from the logistic of these log-odds (weights omitted, see ``signal``):

    arf             x_resp + z_infl + x_resp z_infl + copd
    shock           x_card + x_infl + x_card x_infl
    mortality       x_resp + x_renal + x_hep + x_neuro + x_renal x_hep + x_card x_neuro
                    + age + cancer
    readmission     copd + ckd + liver + alcohol - coronary - diabetes - cancer - dementia
                    + x_renal + x_infl
                    + copd x_resp + ckd x_renal + alcohol x_neuro
    heart_failure   coronary + diabetes + ckd + coronary ckd + coronary diabetes

Mortality uses the first stay of the admission, readmission the last, heart failure the patient
alone. An outcome is drawn first; its marks in the tables follow. Respiratory failure and shock
begin after hour 48 of the stay, except in a few stays, drawn apart from everything, that begin
before and leave the cohort. The dead die at discharge, 48 hours or more after unit admission. A
readmission follows after 2 to 29 days, unplanned; without one nothing follows within 30 days but
a few planned admissions. Heart failure is coded first at a patient's last admission, more than
200 days after the discharge before. Best achievable is therefore the AUROC of ``truth.parquet``
against the labels.
"""

from medhmp.synthetic.write import synthesize

__all__ = ["synthesize"]
