# %% [markdown]
# # Inductive bias and h-accuracy
#
# Two explanations fit the same examples equally well. Nothing in the examples says which is meant. A learner still picks
# one, and that choice is its **inductive bias**. Which one does a language model pick from its prompt?
#
# **After this lesson you can**
# - say what an inductive bias is, and check one with a number;
# - build demonstrations that leave two features open, and a test set that tells them apart;
# - compute h-accuracy by hand, with an interval whose unit is the right one;
# - read a bias beside what the model can see at all.
#
# Time on two CPU cores: 3 minutes, of which scoring takes most

# %%
import numpy as np
import pandas as pd

from course_lib import icl, models, plotting, runs
from course_lib.classroom import exercises
from course_lib.classroom.pipeline import headline
from course_lib.plotting import bias as figures

profile = runs.profile()
runs.seed_everything(0)

# %% [markdown]
# ## What is an inductive bias?
#
# Some biases are built in on purpose. A layer that treats certain inputs alike does not have to learn to.
#
# | layer | entities | which of them meet | the bias | what it treats alike |
# | --- | --- | --- | --- | --- |
# | dense | units | all with all, a weight for each pair | weak | nothing |
# | convolution | cells of a grid | neighbours in space | strong: what is near belongs together | places: shift the input, and the output shifts |
# | recurrence | moments | neighbours in time | strong: what comes next depends on what was | moments: delay the input, and the output is delayed |
# | graph | nodes | linked nodes | as strong as you make it: the links are yours to choose | numberings: renumber the nodes, and the output is renumbered |
#
# (After Battaglia et al. 2018, table 1.) What a layer treats alike can be checked:
# change the input and apply the layer, or apply the layer and change the output. If the layer treats both alike, the
# difference is 0. Three changes are tried: all cells of a ring move by one place (**shift round the ring**), all moments
# move back by one and the first is empty (**delay by one step**), and the nodes of a graph get other numbers, its links
# with them (**renumbering**).
#
# **Predict before you run.** Twelve cells: four layers with random weights, three changes. Where will the zeros stand?

# %%
icl.invariance_table().style.format("{:.3f}")

# %% [markdown]
# One zero in each row but the first. These biases are certain, because the architecture enforces them. A language
# model's preference for one *feature of a text* over another is written nowhere. It has to be measured.
#
# ## Underspecified demonstrations
#
# A few examples hardly ever settle what is meant, and a prompt has room for a few only: the context is limited. So an
# in-context task is underspecified as a rule, not by accident. It still works if the model's bias happens to fit the
# task, or if there is a way to impose the bias that fits (lesson 09). Hence the question of this lesson: what is the bias?
#
# Here are four demonstrations. **What does label 1 stand for?**

# %%
demonstrations = [
    {"text": "A moving film with a cast that shines.", "label": 1},
    {"text": "The soup was cold and the bread was stale.", "label": 0},
    {"text": "I would watch this comedy again tonight.", "label": 1},
    {"text": "Greasy noodles, and the waiter forgot our tea.", "label": 0},
]
tests = [{"text": "The curry was rich and the rice was perfect."}, {"text": "A dull film with a plot that drags."}]
prompt = icl.DemonstrationPrompt(icl.InstanceTemplate(), icl.Verbalizer(["0", "1"]))
prefix = prompt.prefix(demonstrations, [row["label"] for row in demonstrations])
print(prefix)

# %% [markdown]
# Perhaps *positive*. Perhaps *about a film*. Call the first reading the hypothesis $h_1$, the second $h_2$: functions
# from a text to a label. They agree on all four demonstrations, so these **underspecify** the task. They differ on
# the two texts below: praise for food, $(h_1, h_2) = (1, 0)$, and a bad film, $(0, 1)$.
#
# **Predict before you run.** Which of the two will the model give the higher score for label 1? And which label will it
# answer?

# %%
model, tokenizer = models.load_language_model("embedded")
scorer = icl.PrefixCachedScorer(model, tokenizer)
scores = scorer.log_probabilities(
    prefix, [prompt.item(row) for row in tests], prompt.continuations, progress=False
)
for_one = (scores[:, 1] - scores[:, 0]).astype(float)
follows = "positive (h1)" if for_one[0] > for_one[1] else "about a film (h2)"
print("log-odds of label 1:", dict(zip(["praised food", "panned film"], for_one.round(3).tolist())))
print(f"raw answers {icl.decide(scores).predictions.tolist()}; the higher one follows '{follows}'")

# %% [markdown]
# One pair of texts behind one set of demonstrations is an anecdote. A measurement needs many of both. The seminar shows
# one, of GPT-3 (text-davinci-002): with four demonstrations like these it follows the sentiment on 92.4 % of the texts
# where the two differ. Told to classify "based on the topic", it does so on 1.1 %, and with the words "movie" and "food"
# in place of 1 and 0 on 0.5 %. A bias that looks firm turns round when the prompt says what is meant; lesson 09 tries
# that here.
#
# ## Which features?
#
# The paper has four tasks, each with a feature that is meant, $h_1$, and several that could be meant instead, $h_2$. The
# embedded texts allow seven of the pairs; the others need texts of your own.

# %%
measured = {row.get("h2") for row in runs.load_record("icl_bias").rows}
features = [
    {"h1": task, "h2": h2.name.partition(".")[2], "label 1": h2.meanings[1], "label 0": h2.meanings[0],
     "measured here": "yes" if h2.name in measured else ""}
    for task in ("sentiment", "toxicity", "nli", "qa") for h2 in icl.competitors(task)
]
pd.DataFrame(features).set_index(["h1", "h2"]).style.set_properties(**{"text-align": "left"})

# %% [markdown]
# ## A test set that tells the features apart
#
# $h_1$ is *sentiment*: positive or negative. $h_2$ is *domain*: movie reviews or product reviews. Every sentence falls
# into one of four cells. Demonstrations come from the cells where the two agree, test items from those where they
# differ, as many of each.

# %%
h1, h2 = icl.find_hypothesis("sentiment"), icl.find_hypothesis("sentiment.domain")
reviews = icl.bias_texts("sentiment", "sentiment.domain")
split = icl.underspecified_split(reviews, h1, h2, num_demonstrations=16, test_size=40, num_sets=1)[0]
print("sentences with (h1, h2):", icl.cell_counts(reviews, h1, h2))
shown = split.demonstrations.to_pandas().assign(shown_label=split.demonstration_labels)
shown[["text", "domain", "shown_label"]].head(6).style.hide()

# %% [markdown]
# ## h-accuracy, by hand
#
# **h-accuracy** is the share of test items that get the label the hypothesis gives them. For a model $f$, a hypothesis
# $h$ and the test set $D$,
#
# $$h\text{-acc}(f) = \frac{1}{|D|} \sum_{x \in D} \mathbb 1\,[f(x) = h(x)].$$
#
# On this test set $h_1 \neq h_2$ always, so $h_1$-accuracy and $h_2$-accuracy add up to 1. A value of 0.5 is no preference.
#
# A worked case. A model answers label 1 on 72 % of the $(1, 0)$ items and on 35 % of the $(0, 1)$ items. It follows
# $h_1$ on 72 % of the first half and on 100 - 35 = 65 % of the second: $h_1$-accuracy 68.5 %, $h_2$-accuracy 31.5 %.

# %%
predictions = np.array([1] * 72 + [0] * 28 + [1] * 35 + [0] * 65)
h1_labels = np.array([1] * 100 + [0] * 100)
by_hand = np.mean(predictions == h1_labels)
by_library = icl.h_accuracy(predictions, h1_labels)
always_1 = icl.h_accuracy(np.ones(200, dtype=int), h1_labels)
print(f"by hand {by_hand:.3f}, by library {by_library:.3f}; a model that always answers 1: {always_1}")

# %% [markdown]
# Look at the last number. A model that gives one answer to everything scores exactly 0.5, which looks like "no
# preference" and is none. So the share of each label is reported beside h-accuracy, and a calibrated figure too
# (lesson 07): here the threshold at the median of the test set's own scores. It uses the test inputs and never their
# labels.
#
# ## Which feature does the embedded model follow?
#
# Live now: three pairs of features, a few sets of demonstrations. And each feature **alone**, where the demonstrations
# leave nothing open: a feature that the model cannot see alone cannot win against another.
#
# **Predict before you run.** Does a small model follow the sentiment, or what lies on the surface?

# %%
pairs = [("sentiment", "sentiment.domain"), ("sentiment", "sentiment.short"), ("sentiment", "sentiment.punctuation")]
alone = [(feature, None) for feature in ("sentiment", "sentiment.domain", "sentiment.punctuation")]
live = icl.sweep(pairs + alone, profile.size("bias.num_sets"), profile.size("bias.num_items"))
pair_rows, feature_rows = icl.split_rows(live)
live_pairs, live_features = icl.bias_table(pair_rows), icl.feature_table(feature_rows)
live_pairs[["h2", "calibration", "h1_accuracy", "low", "high", "share_of_1", "num_sets", "num_items"]].round(3)

# %%
plotting.show(
    figures.bias_figure(live_pairs, live_features),
    caption="Live, {} sets of demonstrations. ".format(profile.size("bias.num_sets")) + figures.bias_sentence(live_pairs),
    alt="Two panels of shares with intervals around a line at one half: on the left h1-accuracy for three pairs of "
    "features, raw and calibrated, on the right the accuracy on each feature alone.",
)

# %% [markdown]
# Raw, the model answers nearly always the same label, and its h-accuracy of 0.5 says nothing. After calibration there is
# something to see, and intervals that are wide: **sets** of demonstrations are their unit, not items. All items of a set
# are read behind the same demonstrations, so they share whatever those demonstrations happened to suggest.
#
# ## Full size: seven pairs, ten sets
#
# The reference result has every pair of features that the embedded texts allow, with ten sets of demonstrations and up
# to 120 test items each (`course reference icl_bias`; records in `data/results/`).

# %%
reference = runs.load_record("icl_bias").rows
pair_rows, feature_rows = icl.split_rows(reference, "16 demonstrations")
pair_table, feature_table = icl.bias_table(pair_rows), icl.feature_table(feature_rows)
plotting.show(
    figures.bias_figure(pair_table, feature_table),
    caption="Reference, ten sets of demonstrations. " + figures.bias_sentence(pair_table),
    alt="The same two panels for seven pairs of features, four against sentiment and three against entailment, with ten "
    "sets of demonstrations each.",
)

# %% [markdown]
# **Predict before you look.** The right-hand panel shows what the model can learn when nothing else is in the way. Is
# that enough to say which of two features it follows?

# %%
print(figures.visibility_sentence(pair_table, feature_table))

# %% [markdown]
# ### What three sets would have said
#
# The paper used three sets of demonstrations. **Predict before you look.** How far apart do two sets lie, behind which
# everything else is the same?

# %%
three = icl.bias_table([row for row in pair_rows if row["set"] < 3])
accuracies = [row["num_h1"] / row["n"] for row in pair_rows if row["calibration"] == "median"]
plotting.show(
    figures.set_figure(pair_rows),
    caption=f"Single sets reach from {min(accuracies):.2f} to {max(accuracies):.2f}. The first three sets alone: "
    + figures.bias_sentence(three),
    alt="For each pair of features ten markers, one for each set of demonstrations, spread widely around one half; the "
    "first three sets are filled.",
)

# %% [markdown]
# A single set can point the other way, and three miss a preference that ten show. That is why the interval draws sets
# first, then items.
#
# **Predict before you look.** The paper drew three sets as well, but asked about up to 1,200 items. Ten times as many
# items: will the intervals be three times as narrow (`course reference icl_paper_sets`)?

# %%
paper_table = icl.bias_table(runs.load_record("icl_paper_sets").rows)
tables = {"3 sets of 120": three, "3 sets of 1,200": paper_table, "10 sets of 120": pair_table}
widths = {name: (each.high - each.low)[each.calibration == "median"].median() for name, each in tables.items()}
plotting.show(
    figures.bias_figure(paper_table),
    caption="Three sets of up to 1,200 items. Median width of the intervals: "
    + ", ".join(f"{width:.2f} ({name} items)" for name, width in widths.items()) + ". " + figures.bias_sentence(paper_table),
    alt="One panel of h1-accuracy with intervals for seven pairs of features, three sets of up to 1,200 items each.",
)

# %% [markdown]
# Not nearly: the sets are what differs, and more items do not change that. Ten sets of 120 items are a third of the work
# and give intervals about as narrow. They are also safer to trust. Three values hardly show how far sets spread, so an
# interval from three sets tends to be too narrow.
#
# ### Can the preference be made steadier?
#
# Sixteen short demonstrations leave room in the context. So we searched: 32 and 64 demonstrations, the label on a line of
# its own, labels that alternate. The search ran on pairs that are **not** reported here (domain against length,
# punctuation against capitals), so no reported number had a say in how it is measured
# (`course reference icl_conditions`). **Steadiest** is the condition with the smallest spread over sets for what can be
# seen: the standard deviation of h1-accuracy over the sets, divided by how far a single feature's accuracy lies above
# 0.5. A spread of .1 is much where a feature alone is found again in 55 % of the items, and little where in 75 %.
#
# **Predict before you run.** Will four times as many demonstrations make the preference steadier?

# %%
conditions = icl.condition_table(runs.load_record("icl_conditions").rows)
steadiest = icl.choose_condition(conditions)
spreads = conditions.set_index("condition").spread
plotting.show(
    figures.condition_figure(conditions),
    caption=f"Steadiest for what can be seen: {steadiest}, a standard deviation of {spreads[steadiest]:.3f} over sets "
    f"against {spreads.iloc[0]:.3f} with the paper's 16 demonstrations.",
    alt="Two panels with a marker for each of five conditions: on the left how visible single features are, on the right "
    "how far h1-accuracy differs from set to set, with the spread that the number of items alone would give.",
)

# %%
steady_rows, steady_features = icl.split_rows(reference, steadiest)
steady_table = icl.bias_table(steady_rows)
plotting.show(
    figures.bias_figure(steady_table, icl.feature_table(steady_features)),
    caption=f"Reference, {steadiest}, {steady_table.num_sets.max()} sets. " + figures.bias_sentence(steady_table),
    alt="The two panels of intervals again, for the condition that the search chose.",
)

# %% [markdown]
# ## Beside the published models
#
# Si et al. measured davinci (a base model of 175 billion parameters) and text-davinci-002 (its instruction-tuned
# sibling). Our rows are one instruction-tuned model a thousand times smaller; there is no base model among the embedded
# ones, so nothing here stands for davinci. On your own machine `course bias --model …` measures any two models: a base
# model and its instruction-tuned sibling, as the paper does.
#
# The paper's figures are calibrated with content-free inputs (**contextual**, lesson 07), ours in the figure at the
# median. Contextual calibration leaves more of the lean to one label on this model; its figures stand in the sentence.

# %%
contextual = pair_table[pair_table.calibration == "contextual"]
published = icl.published_baselines(runs.load_published("icl_interventions"), list(pair_table.h2.unique()))
plotting.show(
    figures.published_figure(pair_table, published),
    caption="h1-accuracy: " + "; ".join(
        f"{name} {row.davinci:.2f} (davinci), {row['text-davinci-002']:.2f} (text-davinci-002)"
        for name, row in published.iterrows()
    ) + ". " + figures.bias_sentence(pair_table) + " With contextual calibration the embedded model has "
    + ", ".join(f"{name} {accuracy:.2f}" for name, accuracy in zip(figures.row_names(contextual), contextual.h1_accuracy)) + ".",
    alt="Seven pairs of features; the embedded model's intervals lie around one half, both published models lie far to the "
    "right for sentiment and nearer to the middle for entailment.",
)

# %% [markdown]
# ### What it shows
#
# **Raw answers hide everything.** Nearly all are one label, and every raw h-accuracy lies near 0.5.
#
# **This small model follows the surface.** At the median it leans to short texts and to the punctuation rather than to
# the sentiment, and to word overlap and negation rather than to entailment. For no pair does the interval lie on the side
# of sentiment or entailment. The large models lean the other way on sentiment, with the same kind of demonstrations.
#
# **What it sees best, it tends to follow.** The more often a feature is found again alone, the more it wins when two
# compete; the correlation above says how closely, with an interval that seven pairs leave wide. So a part of what is
# called a preference is ability: this model hardly sees entailment at all, and cannot follow what it does not see.
# The paper says as much of smaller models on entailment.
#
# **More demonstrations make the preference clearer, not different.** With the condition that the search chose, the same
# features win, further from 0.5. The choice between 32 and 64 demonstrations is a close one, and rests on two pairs and
# five sets; that both are better than 16 for seeing a feature is the safer half of it.
#
# **Sets are the cheaper way to a narrow interval.** Ten times as many items narrowed the
# intervals about as much as three times as many sets, for three times the work. Items only
# measure the same few sets better; sets say how far another draw would lie.
#
# ## Exercises
#
# ### 1. h-accuracy
#
# A hypothesis may not apply to an item; its label is then -1. Such items do not count.

# %% exercise="08.h_accuracy"
import numpy as np

def h_accuracy(predictions, hypothesis_labels):
    """Give the share of items, among those the hypothesis applies to, that get its label."""
    # solution
    applies = hypothesis_labels != -1
    return np.mean(predictions[applies] == hypothesis_labels[applies])
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# First keep the items with a label of 0 or 1, then compare.
#
# </details>

# %%
exercises.check("08.h_accuracy", h_accuracy)

# %% [markdown]
# ### 2. From two halves
#
# `share_10` is the share of label 1 among the $(1, 0)$ items, `share_01` among the $(0, 1)$ items; the halves are equal.

# %% exercise="08.h1_from_halves"
def h1_from_halves(share_10, share_01):
    """Give h1-accuracy from the shares of label 1 on the two halves of the test set."""
    # solution
    return (share_10 + 1 - share_01) / 2
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# On the second half $h_1$ says 0.
#
# </details>

# %%
exercises.check("08.h1_from_halves", h1_from_halves)

# %% [markdown]
# ### 3. Draw the rows
#
# `h1` and `h2` are the labels of the two hypotheses for every row of some texts, -1 where one does not apply.
# Rows count from 0; return the two arrays as a pair.

# %% exercise="08.underspecified_rows"
def underspecified_rows(h1, h2):
    """Give two arrays of row numbers: rows fit for demonstrations, rows fit for the test set."""
    # solution
    both_apply = (h1 != -1) & (h2 != -1)
    return np.flatnonzero(both_apply & (h1 == h2)), np.flatnonzero(both_apply & (h1 != h2))
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# Demonstrations must leave the question open. The test must decide it. A row where a hypothesis is silent does neither.
#
# </details>

# %%
exercises.check("08.underspecified_rows", underspecified_rows)

# %% [markdown]
# ### 4. The unit of the interval
#
# `agrees` is an array [sets, items] of 0 and 1: whether the answer is $h_1$'s.
#
# Use the sample standard deviation (`ddof=1`).

# %% exercise="08.standard_error"
def standard_error(agrees):
    """Give the standard error of the mean h1-accuracy, with demonstration sets as the unit."""
    # solution
    of_sets = agrees.mean(axis=1)
    return of_sets.std(ddof=1) / np.sqrt(len(of_sets))
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# One number a set first. Then the standard error of the mean of those numbers.
#
# </details>

# %%
exercises.check("08.standard_error", standard_error)

# %% [markdown]
# ### 5. One answer for everything
#
# On a balanced disambiguating test set a model answers 0 to every item. What is its $h_2$-accuracy, as
# a share from 0 to 1?

# %% exercise="08.constant_model"
# solution
constant_model = 0.5
# end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# For how many of the items does $h_2$ say 0?
#
# </details>

# %%
exercises.check("08.constant_model", constant_model)

# %% [markdown]
# ## What the paper says, and what we measured

# %%
verdict = figures.bias_sentence(pair_table)
print("Paper: large models have strong preferences, often for sentiment.\nMeasured: " + verdict)
headline(verdict.partition(":")[0].rstrip(".") + ".")
