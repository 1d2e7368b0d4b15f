"""What a bundle says of itself, for people."""

from pathlib import Path

from edgellm.records.manifest import BundleManifest

MIB = 1 << 20


def render(path: Path, manifest: BundleManifest) -> str:
    """Return the facts of a bundle as text, one fact per line."""
    model, kv = manifest.model, manifest.model.kv
    cache = kv.bytes(kv.max_context)
    steps = " -> ".join(step.action for step in manifest.provenance)
    roles = ", ".join(manifest.chat.roles) if manifest.chat else "none: prompts are continued"
    size = sum(entry.bytes for entry in manifest.files)
    facts = {
        "bundle": f"{path} ({manifest.digest[:12]})",
        "model": f"{model.name}, {model.architecture}, license {model.license or 'unknown'}",
        "made by": steps,
        "vocabulary": f"{model.vocab_size} tokens",
        "context": f"{kv.max_context} tokens",
        "KV cache": f"{cache / MIB:.1f} MiB when full "
        f"({kv.layers} layers x {kv.kv_heads} heads x {kv.head_dim}, {kv.dtype})",
        "chat roles": roles,
        "needs": ", ".join(f"{what} {range_}" for what, range_ in manifest.requires.items()),
        "files": f"{size / MIB:.1f} MiB",
    }
    lines = [f"{name:<10}  {fact}" for name, fact in facts.items()]
    lines += [f"  {entry.bytes:>12}  {entry.path}" for entry in manifest.files]
    return "\n".join(lines)
