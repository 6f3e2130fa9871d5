BEGIN TRANSACTION;
CREATE TABLE adapters (
	id INTEGER NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_adapters PRIMARY KEY (id), 
	CONSTRAINT uq_adapters_name UNIQUE (name)
);
INSERT INTO "adapters" VALUES(1,'support');
INSERT INTO "adapters" VALUES(2,'finance-2.1_b');
INSERT INTO "adapters" VALUES(3,'copy');
INSERT INTO "adapters" VALUES(4,'mixed');
INSERT INTO "adapters" VALUES(5,'mixed-twice');
INSERT INTO "adapters" VALUES(6,'guest');
INSERT INTO "adapters" VALUES(7,'gone');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE alias_moves (
	id INTEGER NOT NULL, 
	adapter_id INTEGER NOT NULL, 
	alias VARCHAR(64) NOT NULL, 
	number INTEGER, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_alias_moves PRIMARY KEY (id), 
	CONSTRAINT fk_alias_moves_adapter_id_adapters FOREIGN KEY(adapter_id) REFERENCES adapters (id)
);
INSERT INTO "alias_moves" VALUES(1,1,'prod',1,'2026-11-29 04:32:00.211355');
INSERT INTO "alias_moves" VALUES(2,1,'prod',2,'2026-11-29 04:32:00.220756');
INSERT INTO "alias_moves" VALUES(3,1,'canary',3,'2026-11-29 04:32:00.228848');
INSERT INTO "alias_moves" VALUES(4,2,'prod',1,'2026-11-29 04:32:00.235650');
INSERT INTO "alias_moves" VALUES(5,1,'canary',NULL,'2026-11-29 04:32:00.243162');
INSERT INTO "alias_moves" VALUES(6,7,'prod',2,'2026-11-29 04:32:00.244782');
CREATE TABLE aliases (
	adapter_id INTEGER NOT NULL, 
	alias VARCHAR(64) NOT NULL, 
	version_id INTEGER NOT NULL, 
	CONSTRAINT pk_aliases PRIMARY KEY (adapter_id, alias), 
	CONSTRAINT fk_aliases_adapter_id_adapters FOREIGN KEY(adapter_id) REFERENCES adapters (id), 
	CONSTRAINT fk_aliases_version_id_versions FOREIGN KEY(version_id) REFERENCES versions (id)
);
INSERT INTO "aliases" VALUES(1,'prod',2);
INSERT INTO "aliases" VALUES(2,'prod',4);
INSERT INTO "aliases" VALUES(7,'prod',10);
CREATE TABLE bases (
	fingerprint VARCHAR(64) NOT NULL, 
	id VARCHAR NOT NULL, 
	model_type VARCHAR NOT NULL, 
	parameters BIGINT NOT NULL, 
	CONSTRAINT pk_bases PRIMARY KEY (fingerprint)
);
INSERT INTO "bases" VALUES('abababababababababababababababababababababababababababababababab','starter','llama',12600000);
INSERT INTO "bases" VALUES('cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd','org/other-base','qwen2',494000000);
CREATE TABLE files (
	version_id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	size BIGINT NOT NULL, 
	attachment BOOLEAN NOT NULL, 
	CONSTRAINT pk_files PRIMARY KEY (version_id, name), 
	CONSTRAINT fk_files_version_id_versions FOREIGN KEY(version_id) REFERENCES versions (id) ON DELETE CASCADE
);
INSERT INTO "files" VALUES(1,'adapter_model.safetensors','88e7e3ba0ea9d29bd6fd46427b48a6cb8b9e0be4bf3b4e402402ab9e6566ec4e',280,0);
INSERT INTO "files" VALUES(1,'adapter_config.json','77d56f8728e2cf0942b49c4780dd9f08152fb9526239443cca6d72e095cdd73a',109,0);
INSERT INTO "files" VALUES(1,'README.md','9a8775b56c9ee572c74dc7b2537e88891dbe4ec1350ec79fcc65bf8a20cbd377',58,1);
INSERT INTO "files" VALUES(1,'loss.svg','d4dc56669143034f31aa309635d4113d9ad76a02b1739da22c965ed2049be9e6',6,1);
INSERT INTO "files" VALUES(2,'adapter_model.safetensors','ef0f1cca366923846bb8c0ea13b252a8c95bfc058c4bffb54e166afa737d90ed',280,0);
INSERT INTO "files" VALUES(2,'adapter_config.json','b31fc96d41c6106e5753a366a8a6d3bfc3a0638ef53da8d21b5bef9604b382a5',109,0);
INSERT INTO "files" VALUES(3,'adapter_model.safetensors','f9ddad0e9d1e85e6ece590552adf6db71815a218de6bb89a97df2be0af6f7367',280,0);
INSERT INTO "files" VALUES(3,'adapter_config.json','2ec6b5d3f8d3d282edae34d5bfd0305df66e805b3f0106cec293e053135eee78',109,0);
INSERT INTO "files" VALUES(4,'adapter_model.safetensors','3735058810833f83dbac008550dd47ecdd4a5f27a0cb18a7644564e8acad89bb',280,0);
INSERT INTO "files" VALUES(4,'adapter_config.json','378004dbbae9d826565d3fc8719a1773d8c552a2328744aeb7f53f011ef53ce4',109,0);
INSERT INTO "files" VALUES(5,'adapter_model.safetensors','88e7e3ba0ea9d29bd6fd46427b48a6cb8b9e0be4bf3b4e402402ab9e6566ec4e',280,0);
INSERT INTO "files" VALUES(5,'adapter_config.json','77d56f8728e2cf0942b49c4780dd9f08152fb9526239443cca6d72e095cdd73a',109,0);
INSERT INTO "files" VALUES(6,'adapter_model.safetensors','d5d01a299c95d2c273732e06c492529cce831266eb1b7ef1fb9bc5f988117ec5',280,0);
INSERT INTO "files" VALUES(6,'adapter_config.json','921d47e28424a64ce9a294b2de10af0d472d3b9381c50545775e8f299083390c',109,0);
INSERT INTO "files" VALUES(7,'adapter_model.safetensors','cb82030293eebd86a3180bbe1209267b5605726232a59d958c3ad44dfa7c8f17',280,0);
INSERT INTO "files" VALUES(7,'adapter_config.json','36d2bf1e77ced3cc1e4825bc75e31c36d318db3dfbe38d768d9b81a94399b50e',110,0);
INSERT INTO "files" VALUES(8,'adapter_model.safetensors','908735035e1f0caa9fb5d0a636926a8510654485621bc311c68e2eb3b6f286e5',280,0);
INSERT INTO "files" VALUES(8,'adapter_config.json','2f8a311a96e8c8595e61dba34f95d21fb3da61dbf208f7f851d11a785353e5b0',110,0);
INSERT INTO "files" VALUES(9,'adapter_model.safetensors','3044cc5f603da60cc7df848171a59d6d7d5b5bfe398f6bb79f7e10d13564326d',280,0);
INSERT INTO "files" VALUES(9,'adapter_config.json','7a7774cf0af622848cb4f81a471cf2e769646443cda16df369a95fb2b5c41388',110,0);
INSERT INTO "files" VALUES(10,'adapter_model.safetensors','581964cab6481fad75efeb9eaa158cb926e40ff0032dd42de51601b57fd07bda',280,0);
INSERT INTO "files" VALUES(10,'adapter_config.json','2893e98c0cd27acd23851fd16010c3c866b842be965840ece7ed2a7838565a45',110,0);
CREATE TABLE fingerprints (
	signature VARCHAR(64) NOT NULL, 
	fingerprint VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_fingerprints PRIMARY KEY (signature), 
	CONSTRAINT fk_fingerprints_fingerprint_bases FOREIGN KEY(fingerprint) REFERENCES bases (fingerprint)
);
INSERT INTO "fingerprints" VALUES('1212121212121212121212121212121212121212121212121212121212121212','cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd');
CREATE TABLE parents (
	version_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	ref VARCHAR NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	weight FLOAT NOT NULL, 
	CONSTRAINT pk_parents PRIMARY KEY (version_id, position), 
	CONSTRAINT fk_parents_version_id_versions FOREIGN KEY(version_id) REFERENCES versions (id) ON DELETE CASCADE
);
INSERT INTO "parents" VALUES(6,0,'support@prod','bd139322175a2e7cd923f6f70e4934fd5bb5406728b31e3a8fe2672850ac81da',0.7);
INSERT INTO "parents" VALUES(6,1,'finance-2.1_b@1','b32cb0cda13832e4ffa382461d08ff5337320efb921129665606af50605b97ec',-0.3);
INSERT INTO "parents" VALUES(7,0,'mixed@1','44ecec44ccf4d9b981ed431333db5bdedaf6ebf29c4d26abd9163df89f4072b1',1.0);
CREATE TABLE preferences (
	id INTEGER NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	ref VARCHAR NOT NULL, 
	against VARCHAR(64) NOT NULL, 
	against_ref VARCHAR NOT NULL, 
	suite VARCHAR NOT NULL, 
	suite_digest VARCHAR(64) NOT NULL, 
	decoding_digest VARCHAR(64) NOT NULL, 
	item INTEGER NOT NULL, 
	choice VARCHAR(8) NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_preferences PRIMARY KEY (id)
);
INSERT INTO "preferences" VALUES(1,'bd139322175a2e7cd923f6f70e4934fd5bb5406728b31e3a8fe2672850ac81da','support@2','abababababababababababababababababababababababababababababababab','base:starter','customer_support','3434343434343434343434343434343434343434343434343434343434343434','5656565656565656565656565656565656565656565656565656565656565656',0,'it','2026-11-29 04:32:00.298747');
INSERT INTO "preferences" VALUES(2,'bd139322175a2e7cd923f6f70e4934fd5bb5406728b31e3a8fe2672850ac81da','support@2','abababababababababababababababababababababababababababababababab','base:starter','customer_support','3434343434343434343434343434343434343434343434343434343434343434','5656565656565656565656565656565656565656565656565656565656565656',1,'tie','2026-11-29 04:32:00.299580');
INSERT INTO "preferences" VALUES(3,'bd139322175a2e7cd923f6f70e4934fd5bb5406728b31e3a8fe2672850ac81da','support@2','abababababababababababababababababababababababababababababababab','base:starter','customer_support','3434343434343434343434343434343434343434343434343434343434343434','5656565656565656565656565656565656565656565656565656565656565656',2,'other','2026-11-29 04:32:00.300059');
CREATE TABLE recipes (
	version_id INTEGER NOT NULL, 
	method VARCHAR NOT NULL, 
	options JSON NOT NULL, 
	relative_error FLOAT, 
	CONSTRAINT pk_recipes PRIMARY KEY (version_id), 
	CONSTRAINT fk_recipes_version_id_versions FOREIGN KEY(version_id) REFERENCES versions (id) ON DELETE CASCADE
);
INSERT INTO "recipes" VALUES(6,'ties','{"density": 0.5}',2.0e-08);
INSERT INTO "recipes" VALUES(7,'cat','{}',NULL);
CREATE TABLE runs (
	version_id INTEGER NOT NULL, 
	seed BIGINT NOT NULL, 
	data_digest VARCHAR(64) NOT NULL, 
	settings JSON NOT NULL, 
	libraries JSON NOT NULL, 
	losses JSON NOT NULL, 
	examples JSON NOT NULL, 
	tokens BIGINT NOT NULL, 
	seconds FLOAT NOT NULL, 
	CONSTRAINT pk_runs PRIMARY KEY (version_id), 
	CONSTRAINT fk_runs_version_id_versions FOREIGN KEY(version_id) REFERENCES versions (id) ON DELETE CASCADE
);
INSERT INTO "runs" VALUES(1,1099511627776,'efefefefefefefefefefefefefefefefefefefefefefefefefefefefefefefef','{"rank": 2, "lr": 0.003, "map": {"prompt": "Frage"}, "parent": null}','{"torch": "2.13.0"}','{"train_first": 4.0, "train_last": 0.30000000000000004, "validation_before": 3.9, "validation_after": 0.31}','{"train": 600, "validation": 100, "test": 120}',36000,58.5);
INSERT INTO "runs" VALUES(2,1099511627776,'efefefefefefefefefefefefefefefefefefefefefefefefefefefefefefefef','{"rank": 2, "lr": 0.003, "map": {"prompt": "Frage"}, "parent": null}','{"torch": "2.13.0"}','{"train_first": 4.0, "train_last": 0.30000000000000004, "validation_before": 3.9, "validation_after": 0.31}','{"train": 600, "validation": 100, "test": 120}',36000,58.5);
CREATE TABLE scores (
	id INTEGER NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	ref VARCHAR NOT NULL, 
	base VARCHAR(64) NOT NULL, 
	suite VARCHAR NOT NULL, 
	suite_digest VARCHAR(64) NOT NULL, 
	decoding JSON NOT NULL, 
	decoding_digest VARCHAR(64) NOT NULL, 
	n INTEGER NOT NULL, 
	metrics JSON NOT NULL, 
	facts JSON NOT NULL, 
	libraries JSON NOT NULL, 
	items VARCHAR(64) NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_scores PRIMARY KEY (id), 
	CONSTRAINT fk_scores_base_bases FOREIGN KEY(base) REFERENCES bases (fingerprint)
);
INSERT INTO "scores" VALUES(1,'bd139322175a2e7cd923f6f70e4934fd5bb5406728b31e3a8fe2672850ac81da','support@2','abababababababababababababababababababababababababababababababab','customer_support','3434343434343434343434343434343434343434343434343434343434343434','{"max_tokens": 64, "temperature": 0.0}','5656565656565656565656565656565656565656565656565656565656565656',2,'{"bleu": {"value": 31.5, "base": 2.25, "delta": 29.25, "ci95": [20.0, 38.0], "p": null, "mde": null, "winner": null, "note": null, "signature": null, "against": null, "clean": null, "clean_against": null, "n": 2, "better": "higher", "unit": "", "measurable": true}, "exact": {"value": 0.30000000000000004, "base": null, "delta": null, "ci95": null, "p": null, "mde": null, "winner": null, "note": null, "signature": null, "against": null, "clean": null, "clean_against": null, "n": 2, "better": "higher", "unit": "", "measurable": true}}','{"contaminated": [1], "answers_trained_on": 0, "trained_left_out": 0, "too_long": 0, "unknown_data": []}','{"torch": "2.13.0"}','2963fbaaddce4413eca905b379f12f0d94dd900854af5c5af5e6cb3d78d78bc7','2026-11-29 04:32:00.286654');
INSERT INTO "scores" VALUES(2,'abababababababababababababababababababababababababababababababab','support@2','abababababababababababababababababababababababababababababababab','customer_support','3434343434343434343434343434343434343434343434343434343434343434','{"max_tokens": 64, "temperature": 0.0}','5656565656565656565656565656565656565656565656565656565656565656',2,'{"bleu": {"value": 31.5, "base": 2.25, "delta": 29.25, "ci95": [20.0, 38.0], "p": null, "mde": null, "winner": null, "note": null, "signature": null, "against": null, "clean": null, "clean_against": null, "n": 2, "better": "higher", "unit": "", "measurable": true}, "exact": {"value": 0.30000000000000004, "base": null, "delta": null, "ci95": null, "p": null, "mde": null, "winner": null, "note": null, "signature": null, "against": null, "clean": null, "clean_against": null, "n": 2, "better": "higher", "unit": "", "measurable": true}}','{}','{"torch": "2.13.0"}','2963fbaaddce4413eca905b379f12f0d94dd900854af5c5af5e6cb3d78d78bc7','2026-11-29 04:32:00.297949');
CREATE TABLE tags (
	version_id INTEGER NOT NULL, 
	"key" VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	CONSTRAINT pk_tags PRIMARY KEY (version_id, "key"), 
	CONSTRAINT fk_tags_version_id_versions FOREIGN KEY(version_id) REFERENCES versions (id) ON DELETE CASCADE
);
INSERT INTO "tags" VALUES(1,'team','desk');
INSERT INTO "tags" VALUES(1,'it''s','quo"ted; DROP TABLE tags; --');
INSERT INTO "tags" VALUES(1,'ключ','日本語 🦆');
INSERT INTO "tags" VALUES(1,'empty','');
INSERT INTO "tags" VALUES(1,'line','one
two	%_\');
INSERT INTO "tags" VALUES(4,'team','money');
INSERT INTO "tags" VALUES(6,'note','second');
CREATE TABLE versions (
	id INTEGER NOT NULL, 
	adapter_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	base VARCHAR(64) NOT NULL, 
	base_id VARCHAR NOT NULL, 
	domain VARCHAR, 
	rank INTEGER NOT NULL, 
	alpha FLOAT NOT NULL, 
	target_modules JSON NOT NULL, 
	trainable_parameters BIGINT NOT NULL, 
	created_at DATETIME NOT NULL, 
	removed_at DATETIME, 
	CONSTRAINT pk_versions PRIMARY KEY (id), 
	CONSTRAINT uq_versions_adapter_id UNIQUE (adapter_id, number), 
	CONSTRAINT fk_versions_adapter_id_adapters FOREIGN KEY(adapter_id) REFERENCES adapters (id), 
	CONSTRAINT fk_versions_base_bases FOREIGN KEY(base) REFERENCES bases (fingerprint)
);
INSERT INTO "versions" VALUES(1,1,1,'1afff702dec696332dd79754060d80699e014aaa1f7fa3ff0b3908653165dbb7','trained','abababababababababababababababababababababababababababababababab','starter','customer_support',2,5.0,'["q_proj", "v_proj"]',8,'2026-11-29 04:31:59.921147',NULL);
INSERT INTO "versions" VALUES(2,1,2,'bd139322175a2e7cd923f6f70e4934fd5bb5406728b31e3a8fe2672850ac81da','trained','abababababababababababababababababababababababababababababababab','starter','customer_support',2,6.0,'["q_proj", "v_proj"]',8,'2026-11-29 04:31:59.979399',NULL);
INSERT INTO "versions" VALUES(3,1,3,'26cb5aac191aa6f74c63e249d542e73da8c30d117d3b6273ca038dcc88b6951e','trained','abababababababababababababababababababababababababababababababab','starter','customer_support',2,7.0,'["q_proj", "v_proj"]',8,'2026-11-29 04:32:00.011074','2026-11-29 04:32:00.264059');
INSERT INTO "versions" VALUES(4,2,1,'b32cb0cda13832e4ffa382461d08ff5337320efb921129665606af50605b97ec','trained','abababababababababababababababababababababababababababababababab','starter','financial_advisor',2,8.0,'["q_proj", "v_proj"]',8,'2026-11-29 04:32:00.047217',NULL);
INSERT INTO "versions" VALUES(5,3,1,'1afff702dec696332dd79754060d80699e014aaa1f7fa3ff0b3908653165dbb7','trained','abababababababababababababababababababababababababababababababab','starter',NULL,2,5.0,'["q_proj", "v_proj"]',8,'2026-11-29 04:32:00.065164',NULL);
INSERT INTO "versions" VALUES(6,4,1,'44ecec44ccf4d9b981ed431333db5bdedaf6ebf29c4d26abd9163df89f4072b1','composed','abababababababababababababababababababababababababababababababab','starter',NULL,2,9.0,'["q_proj", "v_proj"]',8,'2026-11-29 04:32:00.090965',NULL);
INSERT INTO "versions" VALUES(7,5,1,'0fb283c6074331ef5f58a4f636e9251be476d1e0f7916c160f4259b6587fe941','composed','abababababababababababababababababababababababababababababababab','starter',NULL,2,10.0,'["q_proj", "v_proj"]',8,'2026-11-29 04:32:00.119349',NULL);
INSERT INTO "versions" VALUES(8,6,1,'492bc4d42793b3b90df74fa068894adfdf42658c1a0130348a9f958de00ef6cd','imported','cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd','org/other-base',NULL,2,11.0,'["q_proj", "v_proj"]',8,'2026-11-29 04:32:00.147147',NULL);
INSERT INTO "versions" VALUES(9,7,1,'d661bdfb98d7f333182b17d487fe5af6664490aceedbc01526426416679af926','trained','abababababababababababababababababababababababababababababababab','starter',NULL,2,12.0,'["q_proj", "v_proj"]',8,'2026-11-29 04:32:00.174275',NULL);
INSERT INTO "versions" VALUES(10,7,2,'430d447768a751ee065af570b7df00874e4c5a4ddc468839a61c3312bbbbe8f9','trained','abababababababababababababababababababababababababababababababab','starter',NULL,2,13.0,'["q_proj", "v_proj"]',8,'2026-11-29 04:32:00.198977','2026-11-29 04:32:00.275840');
CREATE INDEX ix_versions_domain ON versions (domain);
CREATE INDEX ix_versions_base ON versions (base);
CREATE INDEX ix_versions_digest ON versions (digest);
CREATE INDEX ix_files_sha256 ON files (sha256);
CREATE INDEX ix_parents_digest ON parents (digest);
CREATE INDEX ix_scores_digest ON scores (digest);
CREATE INDEX ix_scores_suite_digest ON scores (suite_digest);
CREATE INDEX ix_preferences_digest ON preferences (digest);
COMMIT;
-- file ewogICJsb3JhX2FscGhhIjogMTMsCiAgInBlZnRfdHlwZSI6ICJMT1JBIiwKICAiciI6IDIsCiAgInRhcmdldF9tb2R1bGVzIjogWwogICAgInFfcHJvaiIsCiAgICAidl9wcm9qIgogIF0KfQo=
-- file W3siaXRlbSI6MCwic2NvcmVzIjp7ImJsZXUiOjMwLjB9fSx7Iml0ZW0iOjEsInNjb3JlcyI6eyJibGV1IjozMS4wfX1d
-- file ewogICJsb3JhX2FscGhhIjogNywKICAicGVmdF90eXBlIjogIkxPUkEiLAogICJyIjogMiwKICAidGFyZ2V0X21vZHVsZXMiOiBbCiAgICAicV9wcm9qIiwKICAgICJ2X3Byb2oiCiAgXQp9Cg==
-- file ewogICJsb3JhX2FscGhhIjogMTEsCiAgInBlZnRfdHlwZSI6ICJMT1JBIiwKICAiciI6IDIsCiAgInRhcmdldF9tb2R1bGVzIjogWwogICAgInFfcHJvaiIsCiAgICAidl9wcm9qIgogIF0KfQo=
-- file 8AAAAAAAAAB7ImJhc2VfbW9kZWwubW9kZWwubW9kZWwubGF5ZXJzLjAuc2VsZl9hdHRuLnFfcHJvai5sb3JhX0Eud2VpZ2h0Ijp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyLDJdLCJkYXRhX29mZnNldHMiOlswLDE2XX0sImJhc2VfbW9kZWwubW9kZWwubW9kZWwubGF5ZXJzLjAuc2VsZl9hdHRuLnFfcHJvai5sb3JhX0Iud2VpZ2h0Ijp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyLDJdLCJkYXRhX29mZnNldHMiOlsxNiwzMl19fSAgICAAAABBAACAQKuqKkAAAABAzczMP6uqqj8lSZI/AACAPw==
-- file ewogICJsb3JhX2FscGhhIjogMTAsCiAgInBlZnRfdHlwZSI6ICJMT1JBIiwKICAiciI6IDIsCiAgInRhcmdldF9tb2R1bGVzIjogWwogICAgInFfcHJvaiIsCiAgICAidl9wcm9qIgogIF0KfQo=
-- file 8AAAAAAAAAB7ImJhc2VfbW9kZWwubW9kZWwubW9kZWwubGF5ZXJzLjAuc2VsZl9hdHRuLnFfcHJvai5sb3JhX0Eud2VpZ2h0Ijp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyLDJdLCJkYXRhX29mZnNldHMiOlswLDE2XX0sImJhc2VfbW9kZWwubW9kZWwubW9kZWwubGF5ZXJzLjAuc2VsZl9hdHRuLnFfcHJvai5sb3JhX0Iud2VpZ2h0Ijp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyLDJdLCJkYXRhX29mZnNldHMiOlsxNiwzMl19fSAgICAAAIBAAAAAQKuqqj8AAIA/zcxMP6uqKj8lSRI/AAAAPw==
-- file ewogICJsb3JhX2FscGhhIjogOCwKICAicGVmdF90eXBlIjogIkxPUkEiLAogICJyIjogMiwKICAidGFyZ2V0X21vZHVsZXMiOiBbCiAgICAicV9wcm9qIiwKICAgICJ2X3Byb2oiCiAgXQp9Cg==
-- file 8AAAAAAAAAB7ImJhc2VfbW9kZWwubW9kZWwubW9kZWwubGF5ZXJzLjAuc2VsZl9hdHRuLnFfcHJvai5sb3JhX0Eud2VpZ2h0Ijp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyLDJdLCJkYXRhX29mZnNldHMiOlswLDE2XX0sImJhc2VfbW9kZWwubW9kZWwubW9kZWwubGF5ZXJzLjAuc2VsZl9hdHRuLnFfcHJvai5sb3JhX0Iud2VpZ2h0Ijp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyLDJdLCJkYXRhX29mZnNldHMiOlsxNiwzMl19fSAgICAAABBBAACQQAAAQEAAABBAZmbmPwAAwD9JkqQ/AACQPw==
-- file ewogICJsb3JhX2FscGhhIjogNSwKICAicGVmdF90eXBlIjogIkxPUkEiLAogICJyIjogMiwKICAidGFyZ2V0X21vZHVsZXMiOiBbCiAgICAicV9wcm9qIiwKICAgICJ2X3Byb2oiCiAgXQp9Cg==
-- file ewogICJsb3JhX2FscGhhIjogMTIsCiAgInBlZnRfdHlwZSI6ICJMT1JBIiwKICAiciI6IDIsCiAgInRhcmdldF9tb2R1bGVzIjogWwogICAgInFfcHJvaiIsCiAgICAidl9wcm9qIgogIF0KfQo=
-- file 8AAAAAAAAAB7ImJhc2VfbW9kZWwubW9kZWwubW9kZWwubGF5ZXJzLjAuc2VsZl9hdHRuLnFfcHJvai5sb3JhX0Eud2VpZ2h0Ijp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyLDJdLCJkYXRhX29mZnNldHMiOlswLDE2XX0sImJhc2VfbW9kZWwubW9kZWwubW9kZWwubGF5ZXJzLjAuc2VsZl9hdHRuLnFfcHJvai5sb3JhX0Iud2VpZ2h0Ijp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyLDJdLCJkYXRhX29mZnNldHMiOlsxNiwzMl19fSAgICAAAIA/AAAAP6uqqj4AAIA+zcxMPquqKj4lSRI+AAAAPg==
-- file 8AAAAAAAAAB7ImJhc2VfbW9kZWwubW9kZWwubW9kZWwubGF5ZXJzLjAuc2VsZl9hdHRuLnFfcHJvai5sb3JhX0Eud2VpZ2h0Ijp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyLDJdLCJkYXRhX29mZnNldHMiOlswLDE2XX0sImJhc2VfbW9kZWwubW9kZWwubW9kZWwubGF5ZXJzLjAuc2VsZl9hdHRuLnFfcHJvai5sb3JhX0Iud2VpZ2h0Ijp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyLDJdLCJkYXRhX29mZnNldHMiOlsxNiwzMl19fSAgICAAAOBAAABgQFVVFUAAAOA/MzOzP1VVlT8AAIA/AABgPw==
-- file ewogICJsb3JhX2FscGhhIjogOSwKICAicGVmdF90eXBlIjogIkxPUkEiLAogICJyIjogMiwKICAidGFyZ2V0X21vZHVsZXMiOiBbCiAgICAicV9wcm9qIiwKICAgICJ2X3Byb2oiCiAgXQp9Cg==
-- file IyBTdXBwb3J0CgpBbnN3ZXJzIGFib3V0IHJlZnVuZHMsIHdhcm1seSDigJQgZ3LDvMOfIEdvdHQuCg==
-- file ewogICJsb3JhX2FscGhhIjogNiwKICAicGVmdF90eXBlIjogIkxPUkEiLAogICJyIjogMiwKICAidGFyZ2V0X21vZHVsZXMiOiBbCiAgICAicV9wcm9qIiwKICAgICJ2X3Byb2oiCiAgXQp9Cg==
-- file 8AAAAAAAAAB7ImJhc2VfbW9kZWwubW9kZWwubW9kZWwubGF5ZXJzLjAuc2VsZl9hdHRuLnFfcHJvai5sb3JhX0Eud2VpZ2h0Ijp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyLDJdLCJkYXRhX29mZnNldHMiOlswLDE2XX0sImJhc2VfbW9kZWwubW9kZWwubW9kZWwubGF5ZXJzLjAuc2VsZl9hdHRuLnFfcHJvai5sb3JhX0Iud2VpZ2h0Ijp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyLDJdLCJkYXRhX29mZnNldHMiOlsxNiwzMl19fSAgICAAAMBAAABAQAAAAEAAAMA/mpmZPwAAgD+3bVs/AABAPw==
-- file PHN2Zy8+
-- file 8AAAAAAAAAB7ImJhc2VfbW9kZWwubW9kZWwubW9kZWwubGF5ZXJzLjAuc2VsZl9hdHRuLnFfcHJvai5sb3JhX0Eud2VpZ2h0Ijp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyLDJdLCJkYXRhX29mZnNldHMiOlswLDE2XX0sImJhc2VfbW9kZWwubW9kZWwubW9kZWwubGF5ZXJzLjAuc2VsZl9hdHRuLnFfcHJvai5sb3JhX0Iud2VpZ2h0Ijp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyLDJdLCJkYXRhX29mZnNldHMiOlsxNiwzMl19fSAgICAAAKBAAAAgQFVV1T8AAKA/AACAP1VVVT9u2zY/AAAgPw==
-- file 8AAAAAAAAAB7ImJhc2VfbW9kZWwubW9kZWwubW9kZWwubGF5ZXJzLjAuc2VsZl9hdHRuLnFfcHJvai5sb3JhX0Eud2VpZ2h0Ijp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyLDJdLCJkYXRhX29mZnNldHMiOlswLDE2XX0sImJhc2VfbW9kZWwubW9kZWwubW9kZWwubGF5ZXJzLjAuc2VsZl9hdHRuLnFfcHJvai5sb3JhX0Iud2VpZ2h0Ijp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyLDJdLCJkYXRhX29mZnNldHMiOlsxNiwzMl19fSAgICAAAABAAACAP6uqKj8AAAA/zczMPquqqj4lSZI+AACAPg==
-- file 8AAAAAAAAAB7ImJhc2VfbW9kZWwubW9kZWwubW9kZWwubGF5ZXJzLjAuc2VsZl9hdHRuLnFfcHJvai5sb3JhX0Eud2VpZ2h0Ijp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyLDJdLCJkYXRhX29mZnNldHMiOlswLDE2XX0sImJhc2VfbW9kZWwubW9kZWwubW9kZWwubGF5ZXJzLjAuc2VsZl9hdHRuLnFfcHJvai5sb3JhX0Iud2VpZ2h0Ijp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyLDJdLCJkYXRhX29mZnNldHMiOlsxNiwzMl19fSAgICAAAEBAAADAPwAAgD8AAEA/mpkZPwAAAD+3bds+AADAPg==
