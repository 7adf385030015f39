"""The cluster's API server, asked directly and through kubectl."""

import http.client
import json
import ssl
import urllib.error
import urllib.request

from layout import BUILT
from shell import Failed, run


def get(layout, path):
    """What the API server answers to a GET, as text; None as long as it does not."""
    try:
        context = ssl.create_default_context(cafile=str(layout.pki / "ca.crt"))
        context.load_cert_chain(layout.pki / "admin.crt", layout.pki / "admin.key")
        with urllib.request.urlopen(layout.api_url + path, timeout=5, context=context) as answer:
            return answer.read().decode()
    except (OSError, http.client.HTTPException, urllib.error.URLError):
        return None


def conditions(layout, path, kind):
    """The names of the objects in a list that have this condition."""
    listed = json.loads(get(layout, path) or '{"items": []}')
    return {
        item["metadata"]["name"]
        for item in listed["items"]
        for condition in item.get("status", {}).get("conditions", [])
        if condition["type"] == kind and condition["status"] == "True"
    }


def kubectl(layout, *arguments, text=None):
    """Runs kubectl and returns what it printed."""
    try:
        return run(BUILT / "kubebox", "kubectl", "--kubeconfig", layout.kubeconfig, *arguments, text=text)
    except Failed as error:
        raise Failed(f"kubectl {' '.join(map(str, arguments))}: {str(error).split(': ', 1)[-1]}") from None
