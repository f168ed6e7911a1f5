# Features to scores, for every dataset and config, by make. In your own Makefile:
#
#   IMGRET_DATASETS := paris rome                      # what is scored
#   IMGRET_CONFIGS  := configs/rootsift-vlad64.toml    # one pipeline each
#   IMGRET_PHOTOS   := /data/%/images                  # % is the dataset's name
#   IMGRET_TRUTH    := /data/%/groundtruth.csv         # optional: not every protocol takes one
#   IMGRET_TRAIN    := holiday-photos                  # the datasets that codebooks are learned on (default: the scored one itself)
#   include imgret/scripts/pipeline.mk
#
# `make imgret` makes whatever is missing or out of date and prints the scores. Paths must be free of spaces. More to set:
IMGRET_EXTRA ?=#          datasets whose vectors are added to every index: distractors
IMGRET_BUILD ?= build#    folder of the outputs
IMGRET_FLAGS ?=#          flags of every step that makes a file: -q, -j 4
IMGRET ?= imgret#         the command
IMGRET_PYTHON ?= python3# Python 3.11 or newer
IMGRET_TRUTH ?=
#
# Outputs are $(IMGRET_BUILD)/DATASET/TABLE-HASH.h5 and depend on what the config says and on nothing else in it, see rules.py; links
# with plain names are beside the scores, in $(IMGRET_BUILD)/DATASET/CONFIG. Each step uses all CPUs, so `make -j` gains little.

IMGRET_RULES := $(dir $(lastword $(MAKEFILE_LIST)))rules.py
IMGRET_BUILD := $(strip $(IMGRET_BUILD))
IMGRET_MADE := $(IMGRET_BUILD)/rules.mk

$(foreach name,IMGRET_DATASETS IMGRET_CONFIGS IMGRET_PHOTOS,$(if $(strip $($(name))),,$(error set $(name) before including pipeline.mk)))
$(shell mkdir -p $(IMGRET_BUILD))
$(shell $(IMGRET_PYTHON) $(IMGRET_RULES) rules $(IMGRET_BUILD) --datasets $(IMGRET_DATASETS) --configs $(IMGRET_CONFIGS) \
  --train $(IMGRET_TRAIN) --extra $(IMGRET_EXTRA) > $(IMGRET_MADE))
include $(IMGRET_MADE)
$(if $(IMGRET_SCORES),,$(error no rules could be made))

.PHONY: imgret IMGRET_FORCE
imgret: $(IMGRET_SCORES)
	@$(IMGRET_PYTHON) $(IMGRET_RULES) scores $(IMGRET_SCORES)
IMGRET_FORCE:
