# %% [markdown]
# # Pre-trained prompt tuning
#
# In lesson 05 a soft prompt had 32 examples to learn everything from, beginning at random words. Pre-trained prompt tuning
# (PPT) gives it practice first: plain text, cut into exercises that look like the tasks to come. What does the practice
# teach a prompt, and what is that worth with few examples?
#
# **After this lesson you can**
# - make sentence pairs, choices and labelled sentences out of plain documents, without giving the answer away;
# - say what a pre-trained prompt has learnt, beside an untrained one, a hard pattern and a probe of the model's states;
# - compare methods on few examples over seeds, and say what each stores for a task;
# - tell where practice pays, and where it does not.
#
# Time on two CPU cores: 2 minutes, of which tuning takes most

# %%
import numpy as np
import pandas as pd

from course_lib import models, plotting, ppt, runs, texts
from course_lib.classroom import exercises
from course_lib.classroom.pipeline import headline
from course_lib.plotting import ppt as figures

profile = runs.profile()
runs.seed_everything(0)
language_model = models.load_language_model("embedded")
model, tokenizer = language_model

# %% [markdown]
# ## Exercises out of plain text
#
# A text has no labels, but it has an order. Three formats of tasks can be made from it:
#
# | format | built from plain text | label words |
# | --- | --- | --- |
# | sentence pair | two sentences: neighbours; of one document, but not neighbours; of two documents | yes, maybe, no |
# | multiple choice | a sentence and six others, of which one is its neighbour | A to F |
# | single sentence | a sentence, and what a sentiment model says of it | terrible, bad, maybe, good, great |
# | unified | multiple choice with 2 to 16 options, as which all tasks can be asked | A to P |
#
# Ours are built from newspaper opinions, product reviews and film reviews, whole documents with their sentences in order.

# %%
pairs = ppt.pretraining_rows("pair", "validation", 300, tokenizer)
one_each = {row["label"]: row for row in pairs}
pd.DataFrame(
    [{"label word": word, **{side: one_each[label][side] for side in ("first", "second")}}
     for label, word in enumerate(["yes", "maybe", "no"])]
)

# %% [markdown]
# A third of the pairs are of each kind. Two sentences are neighbours if they touch, whichever comes first:

# %%
documents = texts.load_texts("newspaper", split="train")
documents.select(range(4)).to_pandas()[["document_id", "position", "text"]]

# %% [markdown]
# **Predict before you run.** The deck's multiple choice has six options: the neighbour, one other sentence of the same
# document, four of other documents. What could a prompt learn instead of the task, if the builder were careless?

# %%
choice = ppt.pretraining_rows("choice", "validation", 1, tokenizer)[0]
pattern = ppt.find_pattern("choice", "hybrid")
print(pattern.text(choice))
print("→", pattern.verbalizer.label_words[choice["label"]])

# %% [markdown]
# Each option has its label *behind* it, and the sentence that is asked about comes last. A causal model reads from left to
# right: when it comes to a letter it has read the option, and at the end it can look for the one that fits and carry on
# with what followed it. That is how it reads demonstrations too (lesson 07).
#
# Now the prediction: the place. If the neighbour stood first more often than last, "A" would be a good answer to everything.
# So the place is drawn before the sentences, and without looking at them. Ten thousand examples say whether that works:

# %%
num_built = 10_000
built = ppt.build_nss_examples(documents, num_built, seed=0)
places = np.bincount([row["label"] for row in built], minlength=6) / num_built
plotting.show(
    figures.place_figure(places.tolist()),
    caption=figures.place_sentence(places.tolist(), num_built),
    alt="Six bars of nearly the same height, one for each option from A to F, at a dotted line that marks even shares.",
)

# %% [markdown]
# ### Single sentences and a labeller
#
# For single sentences the label has to come from somewhere: a second model, trained on human scores, gives a **pseudo-label**,
# and only where it is sure. Two traps lie here. The labeller must not have learnt from the domain of a later task, or its
# labels leak what the task's raters said. And its confidence means little if it is badly calibrated, so each class has
# a threshold of its own.

# %%
record = ppt.shipped_training("single")
labeller = record["labeller"]
print(f"labeller: learnt from {' and '.join(labeller['domains'])}; accuracy {labeller['accuracy']:.3f} in five classes, "
      f"mean confidence {labeller['confidence']:.3f}, calibration error {labeller['calibration_error']:.3f}")
print("thresholds from terrible to great:", record["thresholds"])

# %% [markdown]
# ## Pre-training a prompt
#
# The loss is that of lesson 05, the cross-entropy over the label words at the answer; the model is frozen. Hybrid and soft
# patterns take turns, so that the prompt is good for both. First a short run, live, on sentence pairs.
#
# **Predict before you run.** The prompt begins as 20 random words. Guessing among three words has a loss of
# $\ln 3 = 1.10$. Where will the loss begin: above it, at it, or below it?

# %%
sizes = {"train": 8 * profile.size("prompt.num_steps"), "validation": profile.size("prompt.num_held_out")}
train, heldout = (
    ppt.pretraining_examples("pair", side, size, tokenizer, kinds=("hybrid", "soft")) for side, size in sizes.items()
)
settings = ppt.PromptTrainingSettings(
    learning_rate=3e-3, num_steps=profile.size("prompt.num_steps"), batch_size=8, evaluate_every=12
)
prompt = ppt.initialise("sample_vocab", language_model, 20, seed=0)
verbalizer = ppt.find_pattern("pair").verbalizer
live = ppt.pretrain_prompt(language_model, prompt, train, verbalizer, settings, heldout=heldout)
live.evaluation_table().round(3)

# %% [markdown]
# It begins above: an untrained prompt is *sure* of one word, and wrong about two thirds of the time. The first thing that
# a prompt learns, in a handful of steps, is to be unsure. What the sentences mean takes much longer.
#
# ### The shipped prompts
#
# The course ships one prompt for each format (`data/prompts/`, with the record of its training). Held-out documents give the
# curves.

# %%
records = {name: ppt.shipped_training(name) for name in ("pair", "choice", "single", "unified")}
curves = {name: each["held_out_curve"] for name, each in records.items()}
plotting.show(
    figures.training_figure(curves),
    caption=figures.training_sentence(curves),
    alt="Two panels over the steps of pre-training, a line for each format: held-out loss, which falls fast and then slowly, "
    "and held-out accuracy, which rises.",
)

# %% [markdown]
# ### What has a prompt learnt?
#
# Each prompt meets 600 examples from documents that nothing was chosen on (`course reference ppt_prompts`), beside an
# untrained prompt and the best of four hard patterns, chosen on other examples.

# %%
prompts = runs.load_record("ppt_prompts").table()
plotting.show(
    figures.heldout_figure(prompts),
    caption=figures.heldout_sentence(prompts),
    alt="For each format three marks with intervals and a dotted one for guessing: the pre-trained prompt, an untrained prompt "
    "and the best hard pattern.",
)

# %% [markdown]
# Accuracy hides *which* pairs are told apart. Rows are what a pair is, columns what the shipped prompt says of it, live on
# pairs that nothing was chosen on:

# %%
shipped = ppt.initialise("pretrained", language_model, prompt=ppt.shipped_folder("pair"))
rows = ppt.pretraining_rows("pair", "test", profile.size("prompt.num_test"), tokenizer)
pair_pattern = ppt.find_pattern("pair", "hybrid")
found = ppt.evaluate_prompt(
    language_model, shipped, ppt.write_examples(rows, [pair_pattern]), pair_pattern.verbalizer
)
names = np.array(["neighbours (yes)", "one document (maybe)", "elsewhere (no)"])
answers = np.array(pair_pattern.verbalizer.label_words)
pd.crosstab(pd.Series(names[found.labels], name="pair"), pd.Series(answers[found.predictions], name="answer"))

# %% [markdown]
# **Single sentences are learnt best.** Sentiment is something that the model knows; the prompt brings it out.
#
# **Pairs are learnt in part.** Sentences from elsewhere are of another source here, a product review beside a newspaper, and
# many of these the prompt tells. Whether two sentences of one document *touch* is much harder, as the lower two rows show.
#
# **Choices come slowly.** To answer "C" a model has to find the sentence that fits *and* carry over the letter that stands
# behind it. The unified prompt practised with two to six options; the one for six options began as its copy, and both are well
# above guessing, but far from knowing.
#
# ### What is there to be learnt?
#
# Does a prompt only read out what the frozen model computes anyway? How much that is, a **linear probe** says: a logistic
# regression on the hidden state at the answer, behind the hard pattern, trained on 800 examples (`course reference ppt_probe`).
#
# **Predict before you run.** In which format does the prompt reach more than the best layer's probe?

# %%
probes = runs.load_record("ppt_probe").table()
plotting.show(
    figures.probe_figure(probes),
    caption=figures.probe_sentence(probes),
    alt="A line with a band for each format over the layers of the model: accuracy of a linear probe, beside dotted lines "
    "for guessing.",
)

# %% [markdown]
# **For pairs the prompt reads out what is there**: it reaches about what the best layer's probe does, and the middle layers know
# more than the last. For single sentences it is above the probe of every layer, though it has also seen more examples.
#
# **For choices it does more than read.** No layer knows more than guessing, and still the shipped prompts are well above it.
# Behind a prompt the model's states are other ones: these prompts have led it to look for the sentence that fits, which it
# does not do by itself. A probe of the bare model is no upper limit. It does tell where learning will be slow.
#
# ## Few examples, with practice
#
# The task of lesson 05, the sentiment of movie sentences: 32 to train on, 32 to choose on. One run begins at random words, one
# at the prompt for single sentences. Its labeller never saw a film review's score.
#
# **Predict before you run.** In lesson 05 the soft prompt alone reached about .69. Where will the pre-trained one end?

# %%
sizes = {name: profile.size(f"fewshot.{name}") for name in ("num_updates", "batch_size", "num_development", "num_test")}
tuned = [
    ppt.few_shot_run(
        "movie", method, 0, learning_rate=5e-3, **sizes, loaded=language_model, progress=True
    )
    for method in ("prompt tuning", "PPT")
]
columns = ["method", "train_loss", "development_accuracy", "accuracy", "trained_parameters", "bytes_stored"]
pd.DataFrame(tuned)[columns].round(3)

# %% [markdown]
# One seed proves little: lesson 05 shows how far runs of one method lie apart. `course reference ppt_few_shot` repeats six
# methods on three tasks over five seeds: sentiment of movie sentences, of product sentences, and SNLI, where a premise and a
# hypothesis are asked with the sentence-pair pattern. Each method's learning rate was chosen once, on development examples
# of other seeds. All runs have 32 examples, 60 updates, and a test set that is read once.

# %%
few_shot = runs.load_record("ppt_few_shot").table()
table = ppt.few_shot_table(few_shot)
plotting.show(
    figures.few_shot_figure(few_shot),
    caption=figures.difference_sentence(table, "PPT", "prompt tuning"),
    alt="A panel for each task, with a row for each of six methods: five runs as hollow dots and their mean with its interval.",
)

# %%
figures.few_shot_cells(table)

# %% [markdown]
# **Practice pays where the task resembles it.** On both kinds of sentiment PPT lies above prompt tuning by more than the draw
# of the examples moves the difference, and its runs lie closer together (the column *spread*). On product sentences it
# stands beside full fine-tuning, on movie sentences below it, with 11,520 trained numbers instead of 134.5 million. The prompt
# had practised sentiment, on pseudo-labels from a labeller that saw neither domain.
#
# **A few words do much the same.** Hybrid prompt tuning has had no practice, only the words of its pattern, and it gains as
# much. Behind those words practice adds nothing that the seeds could not explain.
#
# **Where the task is another one, practice does not help.** On SNLI every method is closer to guessing (0.33) than to
# knowing, full fine-tuning included, and no prompt does better than one that began at random words. Whether two
# sentences stand side by side, which the prompt had practised, is not whether one follows from the other.
#
# ### One form for all
#
# Every task can be asked as multiple choice: its classes are the options. One prompt then begins all tasks.

# %%
task = ppt.FEW_SHOT_TASKS["movie"]
print(task.unified("hard").text(task.unified_row(task.read()[0])))

# %%
print(figures.difference_sentence(table, "unified PPT", "prompt tuning"))
few_shot.pivot_table("train_loss", "method", "task", sort=False).round(3)

# %% [markdown]
# **Here one form for all is a miss.** The unified prompt ends below plain prompt tuning on every task. The paper finds no such
# cost, with a model eighty times as large. The training losses in the table, means of the last ten steps, say where it goes
# wrong: the other methods have learnt the 32 sentiment examples nearly by heart after 60 updates, and this form has not. So
# it does not overfit, it has not got there. Runs differ much, as the figure shows: those that got there are
# no worse than prompt tuning. Carrying a letter over is a second task on top of the first, and our prompt's practice of
# it ended at what the held-out figure shows.
#
# ### How many examples is practice worth?
#
# **Predict before you run.** With 512 examples instead of 8: which method gains most, and does the order stay?

# %%
sizes_run = runs.load_record("ppt_sample_efficiency").table()
plotting.show(
    figures.sample_efficiency_figure(sizes_run),
    caption=figures.sample_efficiency_sentence(sizes_run),
    alt="Accuracy over the number of training examples from 8 to 512, a line for each of three methods.",
)

# %% [markdown]
# **Practice is worth many examples.** PPT stands with 8 examples where it stands with 512, and prompt tuning does not get there
# with 512. Tuning all weights starts no lower than PPT and ends above it: where 538 MB a task are no matter, it is the safe
# choice.
#
# Read this with care: two seeds (the hollow marks) are few, and all runs have 60 updates of 8 examples, so with 512 none sees
# every example once.
#
# ## Exercises
#
# ### 1. The label of a pair
#
# A sentence is given as a pair: its document and its position there, from 0 on. No sentence is its own neighbour: a
# sentence and itself count as others of one document, 1.

# %% exercise="06.pair_label"
def pair_label(first, second):
    """Give 0 for neighbours, 1 for others of one document, 2 for two documents."""
    # solution
    if first[0] != second[0]:
        return 2
    return 0 if abs(first[1] - second[1]) == 1 else 1
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# The one before is a neighbour as well as the one after.
#
# </details>

# %%
exercises.check("06.pair_label", pair_label)

# %% [markdown]
# ### 2. Where the answer went
#
# The options are shuffled: place i now shows the option with the number `order[i]`. Places count from 0.

# %% exercise="06.answer_place"
def answer_place(order, answer):
    """Give the place at which the option with the number `answer` stands now."""
    # solution
    return int(np.flatnonzero(order == answer)[0])
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# `order` says which option stands at a place. You need the other way round.
#
# </details>

# %%
exercises.check("06.answer_place", answer_place)

# %% [markdown]
# ### 3. Pseudo-labels
#
# `probabilities` [n, num_labels] is what a labeller says, `thresholds` [num_labels] what each label asks for.
#
# A probability just at its threshold is not above it.

# %% exercise="06.pseudo_labels"
def pseudo_labels(probabilities, thresholds):
    """Give the most probable label (the first of equal ones) where it is above its threshold, else -1, an array [n]."""
    # solution
    labels = probabilities.argmax(axis=1)
    return np.where(probabilities.max(axis=1) > thresholds[labels], labels, -1)
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# `thresholds[labels]` gives each row the threshold of its own label.
#
# </details>

# %%
exercises.check("06.pseudo_labels", pseudo_labels)

# %% [markdown]
# ### 4. A balanced draw
#
# `order` is a permutation of the rows. Go through it and keep a row while its class is not full. A class that has
# fewer than `num_each` rows gives all of them.

# %% exercise="06.draw_balanced"
def draw_balanced(labels, order, num_each):
    """Give the numbers of the first num_each rows of every class, in the order in which they come."""
    # solution
    ordered = labels[order]
    place_in_class = np.array([np.sum(ordered[:place] == label) for place, label in enumerate(ordered)])
    return order[place_in_class < num_each]
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# Count for each row how many of its class came before it.
#
# </details>

# %%
exercises.check("06.draw_balanced", draw_balanced)

# %% [markdown]
# ### 5. A paired comparison
#
# Two methods ran on the same seeds: `ours` and `theirs` are arrays [n], an accuracy a seed.
#
# Use the sample standard deviation (`ddof=1`).

# %% exercise="06.paired_error"
def paired_error(ours, theirs):
    """Give the standard error of the mean difference over the seeds."""
    # solution
    differences = ours - theirs
    return differences.std(ddof=1) / np.sqrt(len(differences))
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# Difference first, spread second.
#
# </details>

# %%
exercises.check("06.paired_error", paired_error)

# %% [markdown]
# ## What the paper says, and what we measured

# %%
verdict = figures.difference_sentence(table, "PPT", "prompt tuning")
print("Paper: with few examples, pre-trained prompts on a model of 11 billion weights reach or beat tuning all of them,")
print("where prompts from random words fall far behind.")
print("Measured on a model of 135 million weights: " + verdict)
print(figures.difference_sentence(table, "full fine-tuning", "prompt tuning"))
print(figures.heldout_sentence(prompts))
headline(verdict)
