"""`lycoris publish`: a folder or a hub repository with an adapter, its card, images and sidecars."""

from __future__ import annotations

from dataclasses import fields

from flows.cli.options import JSON, OUTPUT, Arguments, argument, open_registry, option
from flows.cli.output import print_json, print_lines

PARAMETERS = (
    argument(
        "name", metavar="CONCEPT[@ALIAS]", help="alias: champion (default), challenger, previous or a version number"
    ),
    option("--to", required=True, metavar="FOLDER|hub:USER/NAME", help="a folder, or a repository of the hub"),
    option(
        "--images", type=int, default=4, metavar="N", help="images to generate, the first is the preview; default: 4"
    ),
    option("--steps", type=int, default=25, metavar="N", help="steps of the sampler for each of them (default: 25)"),
    option("--strength", type=float, metavar="X", help="the strength to recommend; default: the measured one, or 1"),
    option("--license", metavar="ID", help="licence of the adapter, an identifier of the hub; default: not stated"),
    option("--base-license", metavar="ID", help="licence of the base model; default: not stated"),
    option("--base-model", metavar="USER/NAME", help="the base model on the hub, where it was trained on a local copy"),
    option("--base", metavar="SOURCE", help="where the base model is now; default: where it was at training"),
    option("--trigger", metavar="WORD", help="the trigger, for versions that do not record it"),
    option("--public", is_flag=True, help="make a new repository public; default: private"),
    OUTPUT,
    JSON,
)


def run(arguments: Arguments) -> int:
    """Publish a version, and print where it is."""
    from tasks.publish import PublishOptions, publish

    options = PublishOptions(**{field.name: getattr(arguments, field.name) for field in fields(PublishOptions)})
    published = publish(open_registry(arguments), arguments.name, arguments.to, options)
    version = published.version
    print_lines([f"{version.concept} version {version.version}: {', '.join(published.files)}"])
    if published.left_out:
        print_lines([f"left out, for paths or secrets: {', '.join(published.left_out)}"])
    if options.license is None:
        print_lines(["no licence is stated: others may not know what they may do; set one with --license"])
    print_lines([published.address])
    if arguments.json:
        print_json(
            {
                "concept": version.concept,
                "version": version.version,
                "address": published.address,
                "files": list(published.files),
                "left_out": list(published.left_out),
            }
        )
    return 0
