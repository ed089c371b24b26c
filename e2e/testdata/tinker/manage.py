# Uses what the newest SDK has beside training and sampling: external weights, copies, searches of sessions, and calls that a server
# of one's own refuses. The environment has TINKER_BASE_URL and TINKER_API_KEY.
import json
import time
import urllib.request
import warnings

warnings.simplefilter("ignore")
import tinker
from tinker import types

service = tinker.ServiceClient(project_id="first", display_name="Nightly run", user_metadata={"team": "birds"})
rest = tinker.RestClient()
base = rest.get_server_capabilities().result().supported_models[0].model_name
client = service.create_lora_training_client(base_model=base, rank=8, seed=1).result()
state = client.save_state("one").result().path

external = client.save_weights_external("hub").result().path
assert external == f"tinker://{client.model_id}/external_weights/hub", external
files = rest.get_external_weights_urls(external).result().urls
assert {"adapter_config.json", "adapter_model.safetensors"} <= set(files), files
config = json.load(urllib.request.urlopen(files["adapter_config.json"]))
assert config["r"] == 8 and config["lora_alpha"] == 32, config
assert len(urllib.request.urlopen(files["adapter_model.safetensors"]).read()) > 1000
try:
    client.save_weights_external("secret", age_encryption_recipients=["age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgp"]).result()
    raise SystemExit("files were to be encrypted")
except tinker.TinkerError as e:
    assert "age_encryption_recipients" in str(e), e

copied = rest.copy_weights(state, "second").result()
assert copied != state and copied.endswith("/weights/one"), copied
assert service.copy_weights(external).result().endswith("/external_weights/hub")
rest.delete_checkpoint_from_tinker_path(state).result()
resumed = service.create_training_client_from_state_with_optimizer(copied).result()
assert resumed.get_info().lora_rank == 8

found = rest.search_sessions(types.SessionSearchRequest(display_name="night", user_metadata={"team": "birds"})).result()
assert [s.display_name for s in found.sessions] == ["Nightly run"] and found.next_cursor is None, found
one = found.sessions[0]
assert one.project_id == "first" and one.checkpoints_count >= 1 and one.checkpoint_storage_bytes > 0 and one.status.type == "active", one
rest.assign_session_project(one.session_id, "third").result()
moved = rest.search_sessions(types.SessionSearchRequest(project_ids=["third"])).result()
assert [s.session_id for s in moved.sessions] == [one.session_id], moved

began = time.time()
for call in rest.get_audit_log, lambda: rest.export_session_trace(one.session_id):
    try:
        call().result()
        raise SystemExit("there is no audit log and no trace")
    except tinker.NotFoundError as e:
        assert "unsupported_value" in str(e), e
assert time.time() - began < 10, "what is refused is asked for again and again"
print("ok")
