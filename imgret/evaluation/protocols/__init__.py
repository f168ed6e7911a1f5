"""Named protocols: each fixes every convention of an evaluation, states it, and evaluates ranked lists."""

PROTOCOLS = {
    "groups": "imgret.evaluation.protocols.groups:Groups",
    "folders": "imgret.evaluation.protocols.folders:Folders",
    "ukbench": "imgret.evaluation.protocols.ukbench:UKBench",
    "holidays": "imgret.evaluation.protocols.holidays:Holidays",
    "oxford5k": "imgret.evaluation.protocols.oxford:Oxford5k",
    "paris6k": "imgret.evaluation.protocols.oxford:Paris6k",
}
