# %% [markdown]
# # Interventions
#
# The demonstrations leave two features open, and the model prefers one (lesson 08). Suppose you meant the other. What can
# you change in the prompt so that the model follows what you meant? And which preferences resist?
#
# **After this lesson you can**
# - write the four interventions, in both directions, so that their parts do not contradict each other;
# - measure what one changes, against the same demonstrations without it;
# - read a heat map of interventions beside the published one.
#
# Time on two CPU cores: 3 minutes, of which scoring takes most

# %%
import pandas as pd

from course_lib import icl, plotting, runs
from course_lib.classroom import exercises
from course_lib.classroom.pipeline import headline
from course_lib.plotting import bias as figures

profile = runs.profile()
runs.seed_everything(0)

# %% [markdown]
# ## Four ways to say what you mean
#
# | intervention | what changes in the prompt |
# | --- | --- |
# | **instruction** | sentences in front say what the labels stand for |
# | **label words** (verbalizer) | words with a meaning instead of 0 and 1 |
# | **explanations** | a sentence behind every demonstration says why it has its label |
# | **disambiguating demonstrations** | half of the demonstrations are replaced by ones on which the two features differ |
#
# Each can point at $h_1$ or at $h_2$: eight changes for one pair of features. All of them are put together from one
# wording of the feature, so an instruction cannot say "nice" where the explanation says "food". Published prompts have
# had such slips. One thing differs from the paper's release: there an explanation stands in the answer slot ("category: …
# therefore the answer is 1"), here behind the text and before the label, so that what is scored stays one label word.

# %%
h1, h2 = icl.find_hypothesis("sentiment"), icl.find_hypothesis("sentiment.domain")
steers = icl.all_interventions(h1, h2)
pd.DataFrame([vars(steer) for steer in steers]).drop(columns="question").fillna("").set_index(["direction", "kind"])

# %% [markdown]
# ## One prompt, four changes
#
# The same two demonstrations, without and with each intervention towards *domain*.

# %%
rows = [{"text": "A film that shines."}, {"text": "The battery died at once."}]
prompts = {"none": icl.prompt_for("sentiment")}
prompts |= {steer.kind: icl.prompt_for("sentiment", steer) for steer in steers if steer.direction == "h2"}
pd.DataFrame({"prompt": {kind: prompt.prefix(rows, [1, 0]) for kind, prompt in prompts.items()}}).style.set_properties(
    **{"white-space": "pre-wrap", "text-align": "left"}
)

# %% [markdown]
# The first row and the last look alike: disambiguation changes *which* texts are shown, not how. Here is what it
# shows, half of sixteen replaced by texts on which the features differ. The labels follow the feature that is meant:

# %%
reviews = icl.bias_texts("sentiment", "sentiment.domain")
split = icl.underspecified_split(reviews, h1, h2, num_held_back=8, test_size=40, num_sets=1)[0]
towards_h2 = icl.disambiguating_demonstrations(split, "h2")
shown = towards_h2.demonstrations.to_pandas().assign(shown_label=towards_h2.demonstration_labels)
shown["sentiment"] = shown.label.map({0: "negative", 1: "positive"})
shown[["text", "domain", "sentiment", "shown_label"]].head(8).style.hide()

# %% [markdown]
# Read down the table: the label always tells the domain, and no longer always the sentiment. The question is decided by
# the examples themselves.
#
# ## What an intervention changes
#
# Compare like with like: the **same** sets of demonstrations and the **same** test items, with and without. The change is
# counted towards the feature that is meant, so a positive number is always a success:
#
# $$\text{change} = \begin{cases} h_1\text{acc}_{\text{with}} - h_1\text{acc}_{\text{without}} & \text{towards } h_1\\
# h_2\text{acc}_{\text{with}} - h_2\text{acc}_{\text{without}} & \text{towards } h_2 \end{cases}$$
#
# davinci, sentiment against domain: $h_1$-accuracy 56.1 % without, 0.3 % with disambiguating demonstrations towards
# domain. By hand the change is $99.7 - 43.9 = 55.8$ points.

# %%
by_hand = (100 - 0.3) - (100 - 56.1)
by_library = 100 * icl.intended_change(0.561, 0.003, "h2")
print(f"by hand {by_hand:.1f} points, by library {by_library:.1f} points")

# %% [markdown]
# ### Live, one pair
#
# **Predict before you run.** Which of the four moves a model of 135 million parameters most? The words, or the examples?

# %%
live = icl.intervention_sweep(
    "sentiment", "sentiment.domain", profile.size("intervention.num_sets"), profile.size("intervention.num_items")
)
live_effects = icl.intervention_effects(live)
live_effects[["direction", "intervention", "baseline", "h1_accuracy", "change"]].round(3)

# %% [markdown]
# A couple of demonstration sets and a few test items show how it is done, and little else.
#
# ## Full size: seven pairs, eight interventions
#
# The reference result has every pair of lesson 08 with every intervention behind several sets
# (`course reference icl_interventions`). Answers are decided at the median of the test set's scores, as there; raw
# answers would nearly all be one label.

# %%
reference = runs.load_record("icl_interventions").rows
effects = icl.intervention_effects(reference)
plotting.show(
    figures.effects_figure({"embedded model": effects}),
    caption=figures.effects_sentence(effects) + " Numbers are points; a star marks a 95 % interval, paired over "
    f"{effects.num_sets.max()} sets of {max(row['n'] for row in reference)} test items, that leaves out 0.",
    alt="Two heat maps with a row for each of seven pairs of features and a column for each of four interventions, towards "
    "the first and towards the second feature.",
)

# %% [markdown]
# ### Does it matter what the intervention says?
#
# A prompt that is changed at all may already shake a preference, whatever the change says. If the preference was for
# $h_2$, that looks like a success towards $h_1$. So compare the two **directions** of the same kind of intervention:
# $h_1$-accuracy when pointed at $h_1$, less $h_1$-accuracy when pointed at $h_2$. What both do alike drops out.
#
# **Predict before you look.** Which of the four still steers?

# %%
steered = icl.steering(reference)
plotting.show(
    figures.steering_figure(steered),
    caption=figures.steering_sentence(steered),
    alt="A heat map with a row for each of seven pairs of features and a column for each of four interventions: the distance "
    "between the two directions of the intervention.",
)

# %% [markdown]
# ### Beside the published models
#
# The same for davinci, a base model, and text-davinci-002, its instruction-tuned sibling (Si et al., tables 4 and 5).
# For sentiment the paper steers towards $h_2$ only: both models follow sentiment anyway.

# %%
published = runs.load_published("icl_interventions")
models = {name: icl.published_effects(published, name) for name in ("davinci", "text-davinci-002")}
summary = figures.effect_summary({"embedded model": effects, **models})
best = summary.idxmax()
strongest = [f"{model}, {way}: {best[model, way]} {summary.max()[model, way]:+.0f}" for model, way in summary]

# %%
plotting.show(
    figures.effects_figure(models),
    caption="The strongest kind of intervention on average, in points: " + "; ".join(strongest) + ".",
    alt="Four heat maps, a row of two for each published model, with features of sentiment, toxicity, entailment and "
    "questions as rows and the four interventions as columns.",
)

# %%
summary

# %% [markdown]
# ### What it shows
#
# **The examples steer, the instruction does not.** Disambiguating demonstrations pull the embedded model apart in the
# two directions for every pair. An instruction does not for any pair: its single changes are of a few points, and the
# two directions give the same answers. A model of this size does not take a sentence in front of the prompt as an
# order, although it was tuned to follow instructions.
#
# **Label words steer some pairs.** Words that say what is meant, in place of 0 and 1, pull the two directions about 20
# points apart for sentiment against domain, length or punctuation. For negation both directions weaken the preference
# for the surface alike, whatever the words mean.
#
# **Explanations shake more than they steer.** Towards $h_1$ they look like a success. Towards $h_2$ they move most pairs
# the same way, which is the wrong one. Most of what they do is to weaken the preference for the surface, whatever they
# say. What is left between their two directions is real for five pairs, but small. The second heat map tells the two
# apart; the first alone would have misled.
#
# **What resists.** Against capitals, overlap of words and which sentence is shorter, even disambiguating demonstrations
# move the model by ten points only. Capitals and length it hardly sees alone (lesson 08), so there is little to steer.
#
# **A caution.** On these test items $h_1$ is the reverse of $h_2$. A model that learns "no negation means 1" from
# disambiguating demonstrations scores like one that understands entailment. For a model that hardly sees entailment
# alone (lesson 08) that is the likelier reading of its large change towards $h_1$.
#
# **The published models differ in kind.** text-davinci-002 follows instructions; davinci, its base model, does not, and
# neither does ours. Towards $h_1$ explanations help davinci most and instructions text-davinci-002; towards $h_2$ it is
# disambiguating demonstrations for davinci and explanations for text-davinci-002. On average over features label words,
# explanations and disambiguating demonstrations help both of them in both directions, by 7 points and more. Ours is moved
# towards $h_2$ by disambiguating demonstrations alone.
#
# With many intervals at 95 %, one star in twenty is luck: the two stars of the instruction are such candidates.
#
# ## Exercises
#
# ### 1. The change that was meant
#
# The intended feature is that of `direction`. The change is negative where its h-accuracy fell.

# %% exercise="09.intended_change"
def intended_change(h1_before, h1_after, direction):
    """Give how far h-accuracy of the intended feature rose; direction is "h1" or "h2"."""
    # solution
    change = h1_after - h1_before
    return change if direction == "h1" else -change
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# Both h-accuracies add up to 1. When one falls, the other rises by as much.
#
# </details>

# %%
exercises.check("09.intended_change", intended_change)

# %% [markdown]
# ### 2. Explanations that follow the label
#
# `explanations` is a pair: the sentence for label 0, the sentence for label 1.

# %% exercise="09.explained_demonstrations"
def explained_demonstrations(texts, labels, explanations):
    """Give a list of "text explanation Label: label", one for each demonstration."""
    # solution
    return [
        f"{text} {explanations[label]} Label: {label}" for text, label in zip(texts, labels)
    ]
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# The label picks the explanation, not the place in the list.
#
# </details>

# %%
exercises.check("09.explained_demonstrations", explained_demonstrations)

# %% [markdown]
# ### 3. Labels of disambiguating demonstrations
#
# `h1` and `h2` are the labels that the hypotheses give some rows. Keep the rows on which they differ, and label them.
#
# Rows count from 0; return the two arrays as a pair.

# %% exercise="09.disambiguating_labels"
import numpy as np

def disambiguating_labels(h1, h2, direction):
    """Give row numbers on which the hypotheses differ, and their labels under the intended one."""
    # solution
    rows = np.flatnonzero(h1 != h2)
    return rows, (h1 if direction == "h1" else h2)[rows]
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# Rows on which both agree say nothing. The label is what the intended hypothesis gives.
#
# </details>

# %%
exercises.check("09.disambiguating_labels", disambiguating_labels)

# %% [markdown]
# ### 4. Paired over sets
#
# `before` and `after` are arrays [sets]: h1-accuracy of the same sets without and with an intervention.
#
# The change is after minus before. Use the sample standard deviation (`ddof=1`), and return the two numbers as a pair.

# %% exercise="09.paired_change"
def paired_change(before, after):
    """Give the mean change and its standard error, paired by set."""
    # solution
    changes = after - before
    return np.mean(changes), np.std(changes, ddof=1) / np.sqrt(len(changes))
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# Subtract first: what is the same in both then drops out.
#
# </details>

# %%
exercises.check("09.paired_change", paired_change)

# %% [markdown]
# ### 5. From the published table
#
# text-davinci-002 answers by sentiment on 92.4 % of the items where sentiment and domain differ, and on 0.5 % with label
# words towards domain. By how many points did $h_2$-accuracy rise?

# %% exercise="09.published_change"
# solution
published_change = 91.9
# end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# $h_2$-accuracy is 100 less $h_1$-accuracy, before and after.
#
# </details>

# %%
exercises.check("09.published_change", published_change)

# %% [markdown]
# ## What the paper says, and what we measured

# %%
print("Paper: interventions often work, label words and explanations most; strong preferences resist.")
print("Measured: " + figures.effects_sentence(effects))
headline(figures.effects_sentence(effects).partition(" Mean change")[0])
