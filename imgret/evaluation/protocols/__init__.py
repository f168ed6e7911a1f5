"""Named protocols: each fixes every convention of an evaluation, states it, and evaluates ranked lists."""

PROTOCOLS = {
    "groups": "imgret.evaluation.protocols.groups:Groups",
    "folders": "imgret.evaluation.protocols.folders:Folders",
    "ukbench": "imgret.evaluation.protocols.ukbench:UKBench",
    "holidays": "imgret.evaluation.protocols.holidays:Holidays",
    "oxford5k": "imgret.evaluation.protocols.oxford:Oxford5k",
    "paris6k": "imgret.evaluation.protocols.oxford:Paris6k",
    "roxford5k": "imgret.evaluation.protocols.revisited:ROxford5k",
    "rparis6k": "imgret.evaluation.protocols.revisited:RParis6k",
    "copydays": "imgret.evaluation.protocols.copydays:Copydays",
    "places": "imgret.evaluation.protocols.places:Places",
    "pairs": "imgret.evaluation.protocols.pairs:Pairs",
    "qrels": "imgret.evaluation.protocols.qrels:Qrels",
}
