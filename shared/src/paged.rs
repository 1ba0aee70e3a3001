//! Paged lists of the API server, for every program: one implementation of restarts.

use kube::api::{ListParams, ObjectList};
use kube::core::Status;

/// The number of items of a page.
const PAGE: u32 = 500;
/// The number of restarts of a list whose continue token has expired.
const RESTARTS: usize = 5;

/// Lists all items, page by page at one resource version. `resourceVersion` is never set, so the list is as recent as
/// the request. A list whose continue token expires is restarted.
///
/// # Errors
/// Returns an error if a page cannot be read, or if the token has expired too often.
pub async fn all<T: Clone>(
    params: &ListParams,
    page: impl AsyncFn(&ListParams) -> kube::Result<ObjectList<T>>,
) -> kube::Result<Vec<T>> {
    filtered(params, page, Some).await
}

/// As [`all`], with the resource version of the list.
///
/// # Errors
/// As [`all`].
pub async fn versioned<T: Clone>(
    params: &ListParams,
    page: impl AsyncFn(&ListParams) -> kube::Result<ObjectList<T>>,
) -> kube::Result<(Vec<T>, Option<String>)> {
    read(params, page, Some).await
}

/// As [`all`], but only the results of `keep` are kept, so that there is never more than a page in memory.
///
/// # Errors
/// As [`all`].
pub async fn filtered<T: Clone, U>(
    params: &ListParams,
    page: impl AsyncFn(&ListParams) -> kube::Result<ObjectList<T>>,
    keep: impl Fn(T) -> Option<U>,
) -> kube::Result<Vec<U>> {
    Ok(read(params, page, keep).await?.0)
}

async fn read<T: Clone, U>(
    params: &ListParams,
    page: impl AsyncFn(&ListParams) -> kube::Result<ObjectList<T>>,
    keep: impl Fn(T) -> Option<U>,
) -> kube::Result<(Vec<U>, Option<String>)> {
    let mut restarts = 0;
    'list: loop {
        let mut params = params.clone().limit(PAGE);
        let mut all = Vec::new();
        loop {
            let listed = match page(&params).await {
                Err(kube::Error::Api(status)) if is_expired(&status) && restarts < RESTARTS => {
                    restarts += 1;
                    continue 'list;
                }
                listed => listed?,
            };
            all.extend(listed.items.into_iter().filter_map(&keep));
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok((all, listed.metadata.resource_version)),
            }
        }
    }
}

fn is_expired(status: &Status) -> bool {
    status.code == 410
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use kube::core::{ListMeta, TypeMeta};

    use super::*;

    fn list(items: &[u8], token: Option<&str>) -> ObjectList<u8> {
        let metadata = ListMeta { continue_: token.map(str::to_owned), ..ListMeta::default() };
        ObjectList { types: TypeMeta::default(), metadata, items: items.to_vec() }
    }

    fn expired() -> kube::Error {
        kube::Error::Api(Box::new(Status { code: 410, ..Status::default() }))
    }

    /// Responds with these pages, and records the tokens of the requests.
    async fn listed(
        pages: Vec<kube::Result<ObjectList<u8>>>,
    ) -> (kube::Result<Vec<u8>>, Vec<Option<String>>) {
        let (pages, requested) = (RefCell::new(pages.into_iter()), RefCell::new(Vec::new()));
        let answer = async |params: &ListParams| {
            requested.borrow_mut().push(params.continue_token.clone());
            assert_eq!((params.limit, &params.resource_version), (Some(PAGE), &None));
            pages.borrow_mut().next().unwrap()
        };
        let all = all(&ListParams::default(), answer).await;
        (all, requested.into_inner())
    }

    #[tokio::test]
    async fn pages_are_read_until_one_names_no_other_even_if_one_is_empty() {
        let pages = vec![Ok(list(&[1, 2], Some("a"))), Ok(list(&[], Some("b"))), Ok(list(&[3], Some("")))];
        let (all, requested) = listed(pages).await;
        assert_eq!(all.unwrap(), [1, 2, 3]);
        assert_eq!(requested, [None, Some("a".to_owned()), Some("b".to_owned())]);
    }

    #[tokio::test]
    async fn an_expired_list_starts_again_from_nothing() {
        let pages =
            vec![Ok(list(&[1], Some("a"))), Err(expired()), Ok(list(&[2], Some("b"))), Ok(list(&[3], None))];
        let (all, requested) = listed(pages).await;
        assert_eq!(all.unwrap(), [2, 3]);
        assert_eq!(requested, [None, Some("a".to_owned()), None, Some("b".to_owned())]);
    }

    #[tokio::test]
    async fn a_list_that_expires_for_ever_is_given_up() {
        let (all, requested) = listed((0..=RESTARTS).map(|_| Err(expired())).collect()).await;
        assert!(matches!(all, Err(kube::Error::Api(status)) if status.code == 410));
        assert_eq!(requested.len(), RESTARTS + 1);
    }
}
