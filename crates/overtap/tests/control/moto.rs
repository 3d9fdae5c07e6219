//! An object store of our own: moto's server on loopback, with credentials that are checked, and
//! boto3 as a client that is not ours. `scripts/deps stores` installs both.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The server, with a bucket called `captures`.
pub(crate) struct Moto {
    child: Child,
    programs: PathBuf,
    endpoint: String,
    key: (String, String),
}

impl Moto {
    /// Starts one; `None`, and a word about it, where it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let programs = programs();
        if !programs.join("../complete").exists() {
            let is_ci = std::env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "false");
            assert!(!is_ci, "moto is missing: scripts/deps stores");
            eprintln!("NOT RUN: {} is missing: scripts/deps stores", programs.display());
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(programs.join("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        // The three calls that make the first user need no credentials; every other does.
        command.env("INITIAL_NO_AUTH_ACTION_COUNT", "3");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = child.spawn().unwrap();
        let endpoint = format!("http://127.0.0.1:{port}");
        let key = (String::new(), String::new());
        let mut moto = Self { child, programs, endpoint, key };
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "moto does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        let key = moto.boto3(
            "iam = session.client('iam')\n\
             iam.create_user(UserName='u')\n\
             policy = {'Version': '2012-10-17', 'Statement': [\
             {'Effect': 'Allow', 'Action': '*', 'Resource': '*'}]}\n\
             iam.put_user_policy(UserName='u', PolicyName='p', PolicyDocument=json.dumps(policy))\n\
             made = iam.create_access_key(UserName='u')['AccessKey']\n\
             result = [made['AccessKeyId'], made['SecretAccessKey']]",
        );
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        moto.key = (word(&key[0]), word(&key[1]));
        moto.boto3("s3.create_bucket(Bucket='captures')");
        Some(moto)
    }

    /// Where it is.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The environment of whoever may use it.
    pub(crate) fn credentials(&self) -> [(&'static str, &str); 2] {
        [("AWS_ACCESS_KEY_ID", &self.key.0), ("AWS_SECRET_ACCESS_KEY", &self.key.1)]
    }

    /// Runs Python against it: `s3` and `session` are boto3's; what it leaves in `result` comes
    /// back.
    pub(crate) fn boto3(&self, script: &str) -> Value {
        let script = format!(
            "import boto3, functools, json\n\
             session = boto3.Session()\n\
             session.client = functools.partial(session.client, endpoint_url='{}')\n\
             s3 = session.client('s3')\nresult = None\n{script}\nprint(json.dumps(result))",
            self.endpoint
        );
        let mut command = Command::new(self.programs.join("python"));
        let key = |text: &str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
        command.args(["-c", &script]).env("AWS_DEFAULT_REGION", "us-east-1");
        command.envs(self.credentials().map(|(name, value)| (name, key(value))));
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The keys of all objects.
    pub(crate) fn keys(&self) -> Vec<String> {
        let keys = self.boto3(
            "result = [o['Key'] for o in s3.list_objects_v2(Bucket='captures').get('Contents', [])]",
        );
        serde_json::from_value(keys).unwrap()
    }

    /// Uploads that were begun and neither completed nor given up.
    pub(crate) fn begun(&self) -> usize {
        let begun = "result = len(s3.list_multipart_uploads(Bucket='captures').get('Uploads', []))";
        usize::try_from(self.boto3(begun).as_u64().unwrap()).unwrap()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The virtual environment it is in.
fn programs() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = variable("OVERTAP_LAB_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        let home = || PathBuf::from(variable("HOME").unwrap_or_default()).join(".cache");
        variable("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("overtap-lab")
    });
    cache.join("moto").join("bin")
}
