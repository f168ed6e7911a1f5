# Features to scores, for every dataset and config, by make. In your own Makefile:
#
#   IMGRET_DATASETS := paris rome                      # what is scored
#   IMGRET_CONFIGS  := configs/rootsift-vlad64.toml    # one pipeline each
#   IMGRET_PHOTOS   := /data/%/images                  # % is the dataset's name
#   IMGRET_TRUTH    := /data/%/groundtruth.csv         # optional: not every protocol takes one
#   IMGRET_TRAIN    := holiday-photos                  # the datasets that codebooks and networks are learned on (default: the scored one)
#   include imgret/scripts/pipeline.mk
#
# make imgret              looks whether all is there that it needs, makes whatever is missing or out of date, goes on with the rest where
#                          something fails, and prints the scores
# make -n imgret           says what it would run; -q answers 0 where that is nothing
# make imgret-clean-old    removes outputs that no config names any more; -n says which
#
# Paths must be free of spaces, but for IMGRET_PHOTOS, which the shell reads: quote it. More to set:
IMGRET_EXTRA ?=#          datasets whose vectors are added to every index: distractors
IMGRET_BUILD ?= build#    folder of the outputs
IMGRET_FLAGS ?=#          flags of every step that makes a file: -q, -j 4
IMGRET ?= imgret#         the command
IMGRET_PYTHON ?= python3# Python 3.11 or newer: where it has imgret's libraries, make itself can tell whether photos have changed
IMGRET_TRUTH ?=
IMGRET_TRAIN_TRUTH ?=#    which photos of IMGRET_TRAIN match, as in IMGRET_TRUTH, or folders or names: for networks; without it they learn without
#
# Outputs are $(IMGRET_BUILD)/DATASET/TABLE-HASH.h5 and depend on what the config says and on nothing else in it, see rules.py; links
# with plain names are beside the scores, in $(IMGRET_BUILD)/DATASET/CONFIG. Each step uses all CPUs, so `make -j` gains little.

IMGRET_RULES := $(dir $(lastword $(MAKEFILE_LIST)))rules.py
IMGRET_BUILD := $(strip $(IMGRET_BUILD))
IMGRET_MADE := $(IMGRET_BUILD)/rules.mk
IMGRET_ONE_WORD = $(if $(word 2,$($1)),$(error $1 must be a path without spaces, as make takes no other: got '$(strip $($1))'))

$(if $(wildcard $(IMGRET_RULES)),,$(error pipeline.mk must be included by a path without spaces, as make takes no other))
$(foreach name,IMGRET_DATASETS IMGRET_CONFIGS IMGRET_PHOTOS,$(if $(strip $($(name))),,$(error set $(name) before including pipeline.mk)))
$(foreach name,IMGRET_BUILD IMGRET_TRUTH,$(call IMGRET_ONE_WORD,$(name)))
IMGRET_GIVEN := $(IMGRET_BUILD) --datasets $(IMGRET_DATASETS) --configs $(IMGRET_CONFIGS) --train $(IMGRET_TRAIN) --extra $(IMGRET_EXTRA)
ifeq ($(MAKECMDGOALS),imgret-clean-old)
$(if $(wildcard $(IMGRET_MADE)),,$(error there is nothing to clean in $(IMGRET_BUILD): no make imgret has built there))
endif
$(shell mkdir -p $(IMGRET_BUILD))
$(shell $(IMGRET_PYTHON) $(IMGRET_RULES) rules $(IMGRET_GIVEN) > $(IMGRET_MADE).$$$$ && mv $(IMGRET_MADE).$$$$ $(IMGRET_MADE) \
  || { rm -f $(IMGRET_MADE).$$$$; : > $(IMGRET_MADE); })
include $(IMGRET_MADE)
$(if $(IMGRET_SCORES),,$(error no rules could be made))

# what the make below, and rules.py, are told
export IMGRET IMGRET_FLAGS IMGRET_PHOTOS IMGRET_TRUTH IMGRET_TRAIN_TRUTH IMGRET_PYTHON IMGRET_RULES
# a line that begins with + is run by `make -n` and `make -q` too: they go on as -n and -q below, and print no scores
IMGRET_DRY = $(or $(findstring n,$(firstword -$(MAKEFLAGS))),$(findstring q,$(firstword -$(MAKEFLAGS))))

.PHONY: imgret imgret-clean-old
imgret:
	+@$(IMGRET_PYTHON) $(IMGRET_RULES) check $(if $(IMGRET_DRY),--quick )$(IMGRET_GIVEN) && \
	  { $(MAKE) --no-print-directory -k -f $(IMGRET_MADE) imgret-made; code=$$?; \
	    $(if $(IMGRET_DRY),exit,$(IMGRET_PYTHON) $(IMGRET_RULES) scores $(IMGRET_GIVEN) --code) $$code; }
imgret-clean-old:
	+@$(IMGRET_PYTHON) $(IMGRET_RULES) clean $(patsubst %,-%,$(IMGRET_DRY)) $(IMGRET_GIVEN)
