# %% [markdown]
# # Complexity and overfitting
#
# A model with more parameters than examples can learn every example by heart. When does that ruin it, and what
# does the ratio of parameters to examples tell you beforehand?
#
# **After this lesson you can**
# - tell an underfitted, a well fitted and an overfitted model apart by two numbers;
# - compute P/N, and say which P/N figures may be compared and which may not;
# - read a learning curve of a fine-tuned language model, and say where P/N misleads.
#
# Time on two CPU cores: 2 minutes, of which fine-tuning takes most

# %%
from course_lib import complexity, plotting, runs
from course_lib.classroom import exercises
from course_lib.complexity import polynomial
from course_lib.classroom.pipeline import headline
from course_lib.plotting import complexity as figures

profile = runs.profile()
runs.seed_everything(0)

# %% [markdown]
# ## Three pictures
#
# Ten points lie around a curve that we know. We fit polynomials of three degrees. A polynomial of degree $d$ has
# $P = d + 1$ coefficients; its *complexity* is how many different shapes it can take.
#
# **Predict before you run.** Which of the degrees 1, 5 and 9 goes exactly through all ten points? Which is nearest
# to the dotted true curve?

# %%
x, y = complexity.draw_points(10, noise=0.25, seed=4)
degrees = {"underfitted: degree 1": 1, "well fitted: degree 5": 5, "overfitted: degree 9": 9}
fits = {title: complexity.fit_polynomial(x, y, degree) for title, degree in degrees.items()}

x_heldout, y_heldout = complexity.draw_points(500, noise=0.25, seed=5)
errors = {title: complexity.mean_squared_error(fit, x, y) for title, fit in fits.items()}
heldout = {title: complexity.mean_squared_error(fit, x_heldout, y_heldout) for title, fit in fits.items()}

# %%
plotting.show(
    figures.fit_figure(x, y, fits, truth=polynomial.true_curve),
    caption="Mean squared error on the ten points, then on 500 points held out: "
    + "; ".join(f"{title}, {errors[title]:.3f} and {heldout[title]:.3g}" for title in fits)
    + ". The training error falls all the way; the held-out error falls and then rises.",
    alt="Three panels with the same ten points. A straight line misses them, a curve of degree 5 follows the "
    "true curve, and one of degree 9 passes through every point and swings far away between them.",
)

# %% [markdown]
# The training error alone cannot tell a good fit from a bad one. The **gap** between training and held-out error
# can: a small gap with large errors is underfitting, a large gap is overfitting.
#
# Move the degree yourself. (The three panels above show the same without the slider.)

# %%
plotting.slider(
    lambda degree: figures.fit_figure(
        x, y, {f"degree {degree}": complexity.fit_polynomial(x, y, degree)}, truth=polynomial.true_curve
    ),
    range(10),
    label="degree",
    value=5,
)

# %% [markdown]
# ## P/N by hand, then by library
#
# $P$ is the number of parameters, $N$ the number of training examples. AlexNet: 60 million parameters, 1.2 million
# images.
#
# $$\frac{P}{N} = \frac{60{,}000{,}000}{1{,}200{,}000} = 50$$

# %%
by_hand = 60_000_000 / 1_200_000
by_library = complexity.parameter_ratio(60e6, 1.2e6)
by_hand, by_library

# %% [markdown]
# Now the seminar deck's whole table, computed again. Look at the column *unit of N* before you compare two rows.

# %%
table = complexity.ratio_table()
table.style.format({"P": "{:,.0f}", "N": "{:,.0f}", "P/N": "{:,.4g}", "P/N in the deck": "{:,.4g}"}, na_rep="–").hide()

# %% [markdown]
# Two rows need honesty.
#
# - The deck calls the network with 23M parameters *Inception v1*. That is the size of **Inception v3** (23.8M).
#   Inception v1, also called GoogLeNet, has about 6.6M, so its P/N is about 5.5, less than DenseNet's.
# - BERT's N counts **words**, the others' N counts **images** or labelled examples. 0.033 and 50 stand in one
#   column, but they do not answer one question. The deck's 0.034 is 0.0333 rounded up.
#
# What is left is a real contrast: the same 110M parameters meet 3.3 billion words in pre-training and 20,000
# examples in fine-tuning. If P/N decided, fine-tuning should fail. It does not, and the rest of the lesson asks
# why.

# %% [markdown]
# ## For real: fine-tuning on more and more examples
#
# We fine-tune the embedded encoder to tell positive from negative movie review sentences, on growing $N$, from
# the same pre-trained weights each time. Beside it stands a small rival: a *linear model on TF-IDF*, which has one
# weight for each word that occurs in its training examples, and no pre-training.
#
# **Predict before you run.**
# 1. The encoder's P/N falls from about 700,000 to 44,000. What happens to the gap between training and held-out
#    accuracy?
# 2. The linear model has a P/N of about 10. Is its gap smaller than the encoder's, or larger?

# %%
live = complexity.sample_size_sweep(
    profile.size("capacity.train_sizes"),
    profile.size("capacity.seeds"),
    num_heldout=profile.size("capacity.num_heldout"),
    num_epochs=profile.size("capacity.num_epochs"),
)
gaps = complexity.generalization_gaps(live)
gaps.drop(columns="seed").style.format(precision=3).hide()

# %% [markdown]
# One seed is one draw of the examples. The reference result repeats the experiment with three seeds and up to
# $N = 2048$ (`course reference sample_size`; its record, with settings, versions and machine, is
# `data/results/sample_size.json`). Filled markers with bars are its means and 95 % intervals; hollow markers are
# your run.

# %%
reference = runs.load_record("sample_size").table()
reference_gaps = complexity.generalization_gaps(reference)
plotting.show(
    figures.sample_size_figure(reference, live),
    caption=figures.gap_sentence(reference_gaps, "fine-tuned encoder"),
    alt="Three panels over the number of training examples: accuracy, loss and gap, for the fine-tuned encoder "
    "and the linear model. Training accuracy stays near 1 for both. Held-out accuracy rises with N, and the gap "
    "falls; the mean of the encoder is above that of the linear model at every N.",
)
reference_gaps.groupby(["model", "num_examples"])[["parameter_ratio", "train", "held-out", "gap"]].mean().round(3)

# %% [markdown]
# ## What P/N predicts, and where it fails
#
# **Within one model it predicts the direction.** More examples at the same P, a smaller P/N, a smaller gap.
#
# **Between models it does not.** The linear model's P/N is thousands of times smaller than the encoder's, and its
# gap is not. What counts is not how many parameters there are but which functions training can reach from where
# it starts, and pre-training starts the encoder near good ones.
#
# **Accuracy and loss tell different stories.** Look at the encoder's held-out *loss* in panel (b): it does not
# fall with N the way the error rate does. The model is right more often, and surer than it should be where it is
# wrong. Chapter 2 returns to that.
#
# ### Past P = N: double descent
#
# The three pictures above suggest that more parameters are worse for ever. They are not. Past $P = N$ there are
# many curves through all points, and least squares can pick the one with the smallest coefficients. We fit
# polynomials of growing degree to 20 points, 50 times over.

# %%
sweep = complexity.degree_sweep([0, 1, 2, 3, 5, 7, 9, 12, 15, 17, 19, 21, 25, 30, 40, 60, 100, 200])
figure, axes = plotting.panels(1, 1, width=7, height=3.8)
figures.errors_over_ratio(axes, sweep)
medians = sweep.groupby("parameter_ratio")["heldout_error"].median()
plotting.show(
    figure,
    caption=f"The median held-out error is {medians[0.3]:.2f} at P/N = 0.3, explodes to {medians.max():.0e} at "
    f"P/N = {medians.idxmax():.3g}, and falls again to {medians.iloc[-1]:.2f} at P/N = {medians.index[-1]:.0f}.",
    alt="Held-out error over P/N on logarithmic axes: it dips at 0.3, rises to a sharp peak at P = N, and falls "
    "again beyond; the training error falls to zero at P = N and stays there.",
)

# %% [markdown]
# This is called **double descent** (Belkin et al., PNAS 2019). Two cautions. The second valley depends on the rule
# that picks one fit out of many: here the smallest coefficients, in fine-tuning the start at $\theta_0$ and small
# steps. And here the second valley is *not* lower than the first: the best polynomial still has few coefficients.
# Over-parametrised is not the same as good.

# %% [markdown]
# ## Exercises
#
# Write the body, run the cell, and the check under it tells you at once what differs.
#
# ### 1. P/N
#
# Return the ratio as it is, without rounding.

# %% exercise="01.parameter_ratio"
def parameter_ratio(num_parameters, num_examples):
    """Give the number of parameters for each training example."""
    # solution
    return num_parameters / num_examples
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# AlexNet must give 50, not 0.02.
#
# </details>

# %%
exercises.check("01.parameter_ratio", parameter_ratio)

# %% [markdown]
# ### 2. Two errors
#
# Fit a polynomial by least squares to the training points only (`np.polyfit` and `np.polyval` will do) and give its
# mean squared error on the training points and on the held-out ones.

# %% exercise="01.polynomial_errors"
import numpy as np

def polynomial_errors(x_train, y_train, x_heldout, y_heldout, degree):
    """Give (train_error, heldout_error), two mean squared errors."""
    # solution
    coefficients = np.polyfit(x_train, y_train, degree)
    train_error = np.mean((np.polyval(coefficients, x_train) - y_train) ** 2)
    heldout_error = np.mean((np.polyval(coefficients, x_heldout) - y_heldout) ** 2)
    return train_error, heldout_error
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# The held-out points are looked at once the fit is done, never by the fit itself.
#
# </details>

# %%
exercises.check("01.polynomial_errors", polynomial_errors)

# %% [markdown]
# ### 3. Which degree would you choose?
#
# You have the training and the held-out error of several degrees. Choose one; of equally good ones, the simplest.

# %% exercise="01.select_degree"
def select_degree(degrees, train_errors, heldout_errors):
    """Give the degree to use."""
    # solution
    return min(zip(heldout_errors, degrees))[1]
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which of the two errors says something about points that the fit has not seen? And `degrees` need not be sorted.
#
# </details>

# %%
exercises.check("01.select_degree", select_degree)

# %% [markdown]
# ### 4. How many examples?
#
# You fine-tune a model of 110 million parameters. How many examples would give you AlexNet's ratio, P/N = 50?
# Give the number itself, not millions.

# %% exercise="01.examples_for_ratio"
# solution
examples_for_ratio = 110e6 / 50
# end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# Solve P/N = 50 for N.
#
# </details>

# %%
exercises.check("01.examples_for_ratio", examples_for_ratio)

# %% [markdown]
# ## What the deck says, and what we measured

# %%
final = reference_gaps.groupby(["model", "num_examples"])[["held-out", "gap"]].mean()
encoder, linear = final.loc["fine-tuned encoder"], final.loc["linear on TF-IDF"]
small, large = encoder.index.min(), encoder.index.max()
print(f"Deck: a model with P/N in the thousands is in danger of overfitting.\n"
      f"Measured: yes. The encoder's gap is {encoder.gap[small]:.2f} at N = {small} and {encoder.gap[large]:.2f} at N = {large}.\n"
      f"Deck: P/N measures that danger.\n"
      f"Measured: not between models. At N = {large} the linear model's gap is {linear.gap[large]:.2f}, the encoder's "
      f"{encoder.gap[large]:.2f}, at a P/N thousands of times larger.")
headline(f"Held-out accuracy {encoder['held-out'][small]:.2f} → {encoder['held-out'][large]:.2f}, gap {encoder.gap[small]:.2f} "
         f"→ {encoder.gap[large]:.2f} from N = {small} to {large} (reference, 3 seeds).")

# %% [markdown]
# **What is still unsolved.** The fine-tuned model fits its training examples perfectly and is overconfident on new
# ones. More examples help, but you do not have them. Lesson 02 looks at how the weights move in fine-tuning, and
# finds steps that are too large.
