//! Writing to a service that cuts connections, or asks to wait.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::AzureTables;
use super::encode::{Entity, Partition};
use super::exporter::CUT_TIMES_MAX;
use super::group::BOUNDARY;
use crate::{ExportError, Scope};

/// What a service answers to a request, told how many came before and how many are in flight;
/// `None` ends the connection.
type Answers = fn(u32, u32) -> Option<&'static str>;

const TAKEN: Option<&str> = Some("202 Accepted");
const BUSY: Option<&str> = Some("503 Server Busy");

/// A service, and for each request how many were in flight.
fn service(answers: Answers) -> (String, Arc<Mutex<Vec<u32>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    let flying = Arc::new(AtomicU32::new(0));
    #[expect(clippy::disallowed_methods, reason = "a test's service ends with the test")]
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, noted, flying) = (stream.unwrap(), noted.clone(), flying.clone());
            std::thread::spawn(move || serve(stream, &noted, &flying, answers));
        }
    });
    (format!("http://{address}/account"), seen)
}

#[expect(clippy::disallowed_methods, reason = "a service takes its time")]
fn serve(mut stream: TcpStream, seen: &Mutex<Vec<u32>>, flying: &AtomicU32, answers: Answers) {
    let mut request = Vec::new();
    while !request.ends_with(format!("--{BOUNDARY}--\r\n").as_bytes()) {
        let mut bytes = [0; 4_096];
        let read = stream.read(&mut bytes).unwrap();
        request.extend_from_slice(&bytes[..read]);
    }
    let in_flight = flying.fetch_add(1, Ordering::SeqCst) + 1;
    let before = {
        let mut seen = seen.lock().unwrap();
        seen.push(in_flight);
        seen.len() as u32 - 1
    };
    std::thread::sleep(Duration::from_millis(5));
    let answer = answers(before, in_flight);
    flying.fetch_sub(1, Ordering::SeqCst);
    let Some(status) = answer else { return };
    let body = "HTTP/1.1 204 No Content\r\n\r\n".repeat(2);
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n");
    write!(stream, "{head}Connection: close\r\n\r\n{body}").unwrap();
}

fn sink(endpoint: &str) -> AzureTables {
    let text = format!("account = \"account\"\nendpoint = \"{endpoint}\"\nkey = \"a2V5\"\n");
    let scope = Scope { chains: Vec::new(), tables: Vec::new() };
    AzureTables::open("tables", toml::from_str(&text).unwrap(), &scope).unwrap()
}

/// A request's worth each.
fn partitions(count: u32) -> Vec<Partition> {
    let entity = |key: &str| Entity {
        row_key: key.to_owned(),
        json: "{}".to_owned(),
        event_id: key.to_owned(),
    };
    let partition = |key: u32| {
        let entities = vec![entity("a"), entity("b")];
        Partition { table: "Blocks", key: key.to_string(), entities }
    };
    (0..count).map(partition).collect()
}

#[tokio::test]
async fn connections_that_are_cut_are_made_again_a_few_times() {
    let (endpoint, seen) = service(|before, _| TAKEN.filter(|_| before >= CUT_TIMES_MAX));
    sink(&endpoint).write_all(&partitions(1)).await.unwrap();
    assert_eq!(seen.lock().unwrap().len() as u32, CUT_TIMES_MAX + 1);
    let (endpoint, seen) = service(|_, _| None);
    let error = sink(&endpoint).write_all(&partitions(1)).await.unwrap_err();
    assert!(matches!(error, ExportError::Unavailable { .. }), "{error}");
    assert_eq!(seen.lock().unwrap().len() as u32, CUT_TIMES_MAX + 1);
}

#[tokio::test]
async fn a_service_that_asks_to_wait_gets_fewer_requests_at_once() {
    let (endpoint, seen) = service(|_, flying| if flying > 4 { BUSY } else { TAKEN });
    sink(&endpoint).write_all(&partitions(400)).await.unwrap();
    let seen = seen.lock().unwrap();
    let refused = seen.iter().filter(|flying| **flying > 4).count();
    assert_eq!(seen.len() - refused, 400, "each is taken once");
    assert!(refused > 0, "it begins with more than the service takes");
    let (_, last) = seen.split_at(seen.len() / 2);
    assert!(last.iter().all(|flying| *flying <= 8), "it has learned: {last:?}");
    assert!(refused < 100, "{refused} of 400 were too much");
}
