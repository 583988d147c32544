<?php
/**
 * Settings → Stagedoor.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * The screen. Fields are listed in `sections()`; how each kind looks is in `field()`.
 */
final class Settings_Page {

	const SLUG = 'stagedoor';

	/**
	 * Add it to the menu.
	 *
	 * @return void
	 */
	public static function menu() {
		add_options_page( __( 'Stagedoor', 'stagedoor' ), __( 'Stagedoor', 'stagedoor' ), 'stagedoor_manage', self::SLUG, array( __CLASS__, 'render' ) );
		add_filter(
			'option_page_capability_' . Settings::GROUP,
			static function () {
				return 'stagedoor_manage';
			}
		);
	}

	/**
	 * A link beside the plugin's name.
	 *
	 * @param string[] $links Those of core.
	 * @return string[]
	 */
	public static function links( $links ) {
		array_unshift( $links, sprintf( '<a href="%s">%s</a>', esc_url( admin_url( 'options-general.php?page=' . self::SLUG ) ), esc_html__( 'Settings', 'stagedoor' ) ) );
		return $links;
	}

	/**
	 * Load the screen's script.
	 *
	 * @param string $screen The screen.
	 * @return void
	 */
	public static function enqueue( $screen ) {
		if ( 'settings_page_' . self::SLUG === $screen ) {
			self::load_script();
		}
	}

	/**
	 * The script of this screen and of the dashboard's widget.
	 *
	 * @return void
	 */
	public static function load_script() {
		wp_enqueue_script( 'stagedoor-admin' );
		wp_enqueue_style( 'stagedoor-admin' );
		$config = array(
			'rest'  => esc_url_raw( rest_url( 'stagedoor/v1/' ) ),
			'nonce' => wp_create_nonce( 'wp_rest' ),
			'probe' => Settings::public_url() . '/healthz',
			'ready' => Settings::is_ready(),
		);
		wp_add_inline_script( 'stagedoor-admin', 'window.stagedoorAdmin = ' . wp_json_encode( $config ) . ';', 'before' );
	}

	/**
	 * The screen.
	 *
	 * @return void
	 */
	public static function render() {
		if ( ! current_user_can( 'stagedoor_manage' ) ) {
			return;
		}
		echo '<div class="wrap stagedoor-settings"><h1>' . esc_html__( 'Stagedoor', 'stagedoor' ) . '</h1>';
		echo '<div class="stagedoor-tests"><button type="button" class="button" data-stagedoor-test="status"' . disabled( Settings::is_ready(), false, false ) . '>' . esc_html__( 'Test connection', 'stagedoor' ) . '</button> ';
		echo '<button type="button" class="button" data-stagedoor-test="streaming"' . disabled( Settings::is_ready(), false, false ) . '>' . esc_html__( 'Test streaming', 'stagedoor' ) . '</button>';
		echo ' <span class="description">' . esc_html( Settings::is_ready() ? __( 'They test what is saved.', 'stagedoor' ) : __( 'Enter address and key, and save: then they can be tested.', 'stagedoor' ) ) . '</span>';
		echo '<div class="stagedoor-tests__result" role="status"></div></div>';
		echo '<form method="post" action="options.php">';
		settings_fields( Settings::GROUP );
		echo '<input type="hidden" name="' . esc_attr( Settings::OPTION ) . '[form]" value="1">';
		$values = Settings::all();
		foreach ( self::sections() as $section ) {
			echo '<h2 class="title">' . esc_html( $section['title'] ) . '</h2>';
			if ( isset( $section['text'] ) ) {
				echo '<p>' . esc_html( $section['text'] ) . '</p>';
			}
			echo '<table class="form-table" role="presentation">';
			foreach ( $section['fields'] as $name => $field ) {
				$id = 'stagedoor-' . $name;
				echo '<tr><th scope="row"><label for="' . esc_attr( $id ) . '">' . esc_html( $field['label'] ) . '</label></th><td>';
				self::field( $name, $field, isset( $values[ $name ] ) ? $values[ $name ] : '', $values );
				if ( isset( $field['help'] ) ) {
					echo '<p class="description" id="' . esc_attr( $id ) . '-help">' . esc_html( $field['help'] ) . '</p>';
				}
				echo '</td></tr>';
			}
			echo '</table>';
		}
		submit_button();
		echo '</form></div>';
	}

	/**
	 * One field.
	 *
	 * @param string               $name   Its name.
	 * @param array<string, mixed> $field  What it is.
	 * @param mixed                $value  Its value.
	 * @param array<string, mixed> $values All values.
	 * @return void
	 */
	private static function field( $name, array $field, $value, array $values ) {
		$id     = 'stagedoor-' . $name;
		$common = ' id="' . esc_attr( $id ) . '" name="' . esc_attr( Settings::OPTION . '[' . $name . ']' ) . '"' . ( isset( $field['help'] ) ? ' aria-describedby="' . esc_attr( $id ) . '-help"' : '' );
		// phpcs:disable WordPress.Security.EscapeOutput -- `$common` is escaped above.
		switch ( $field['kind'] ) {
			case 'url':
				$fixed = 'base_url' === $name && Settings::base_url_is_fixed();
				echo '<input type="url" class="regular-text code"' . $common . ' placeholder="https://gateway.example.com" value="' . esc_attr( $fixed ? Settings::base_url() : $value ) . '"' . ( $fixed ? ' readonly' : '' ) . '>';
				break;
			case 'key':
				self::key_field( $common );
				break;
			case 'model':
				self::model_field( $common, (string) $value );
				break;
			case 'area':
				echo '<textarea class="large-text" rows="5"' . $common . '>' . esc_textarea( $value ) . '</textarea>';
				break;
			case 'number':
				$bounds = Settings::NUMBERS[ $name ];
				echo '<input type="number" class="small-text"' . $common . ' min="' . esc_attr( (string) $bounds[1] ) . '" max="' . esc_attr( (string) $bounds[2] ) . '" value="' . esc_attr( (string) $value ) . '"> ' . esc_html( isset( $field['unit'] ) ? $field['unit'] : '' );
				if ( isset( $field['window'] ) ) {
					self::select( $field['window'], self::words( $field['window'] ), (string) $values[ $field['window'] ], __( 'Per', 'stagedoor' ) );
				}
				break;
			case 'choice':
				self::select( $name, self::words( $name ), (string) $value );
				break;
			case 'roles':
				echo '<fieldset id="' . esc_attr( $id ) . '"><legend class="screen-reader-text">' . esc_html( $field['label'] ) . '</legend>';
				foreach ( wp_roles()->get_names() as $role => $label ) {
					echo '<label><input type="checkbox" name="' . esc_attr( Settings::OPTION ) . '[roles][]" value="' . esc_attr( $role ) . '"' . checked( in_array( $role, (array) $value, true ), true, false ) . '> ' . esc_html( translate_user_role( $label ) ) . '</label><br>';
				}
				echo '</fieldset>';
				break;
			case 'switch':
				echo '<input type="checkbox" value="1"' . $common . checked( (bool) $value, true, false ) . '>';
				break;
		}
		// phpcs:enable
	}

	/**
	 * The key's field: what is saved is never in it.
	 *
	 * @param string $common Its attributes, escaped.
	 * @return void
	 */
	private static function key_field( $common ) {
		$source = Settings::key_source();
		if ( Settings::is_astray() ) {
			esc_html_e( 'The network has a key (STAGEDOOR_API_KEY) but no address (STAGEDOOR_BASE_URL). Both belong into wp-config.php: a key of all sites is not sent to an address that one site chooses.', 'stagedoor' );
			return;
		}
		if ( 'env' === $source || 'constant' === $source ) {
			echo '<code>' . esc_html( Settings::masked_key() ) . '</code> ' . esc_html__( 'from the server’s configuration (STAGEDOOR_API_KEY)', 'stagedoor' );
			return;
		}
		// phpcs:ignore WordPress.Security.EscapeOutput -- Escaped by the caller.
		echo '<input type="password" class="regular-text code" autocomplete="new-password" spellcheck="false"' . $common . ' value="" placeholder="' . esc_attr( '' !== Settings::masked_key() ? Settings::masked_key() : 'sd_…' ) . '">';
		if ( 'database' === $source ) {
			echo ' <label><input type="checkbox" name="' . esc_attr( Settings::OPTION ) . '[forget_key]" value="1"> ' . esc_html__( 'Forget the saved key', 'stagedoor' ) . '</label>';
		}
	}

	/**
	 * The model's field: a text, with the models that are known as suggestions.
	 *
	 * @param string $common Its attributes, escaped.
	 * @param string $value  Its value.
	 * @return void
	 */
	private static function model_field( $common, $value ) {
		// phpcs:ignore WordPress.Security.EscapeOutput -- Escaped by the caller.
		echo '<input type="text" class="regular-text" list="stagedoor-models" autocomplete="off"' . $common . ' value="' . esc_attr( $value ) . '"><datalist id="stagedoor-models">';
		$models = get_transient( Client::MODELS_TRANSIENT );
		foreach ( is_array( $models ) ? $models : array() as $model ) {
			echo '<option value="' . esc_attr( $model ) . '"></option>';
		}
		echo '</datalist>';
	}

	/**
	 * A list to choose from.
	 *
	 * @param string                $name  Its name.
	 * @param array<string, string> $words What can be chosen.
	 * @param string                $value What is.
	 * @param string                $label Its name for screen readers, where no label stands beside it.
	 * @return void
	 */
	private static function select( $name, array $words, $value, $label = '' ) {
		echo '<select id="stagedoor-' . esc_attr( $name ) . '" name="' . esc_attr( Settings::OPTION . '[' . $name . ']' ) . '"' . ( '' !== $label ? ' aria-label="' . esc_attr( $label ) . '"' : '' ) . '>';
		foreach ( $words as $word => $text ) {
			echo '<option value="' . esc_attr( $word ) . '"' . selected( $value, $word, false ) . '>' . esc_html( $text ) . '</option>';
		}
		echo '</select>';
	}

	/**
	 * What can be chosen, in words.
	 *
	 * @param string $name The setting.
	 * @return array<string, string>
	 */
	private static function words( $name ) {
		$windows = array(
			'hour'  => __( 'per hour', 'stagedoor' ),
			'day'   => __( 'per day', 'stagedoor' ),
			'month' => __( 'per 30 days', 'stagedoor' ),
		);
		$words   = array(
			'who'       => array(
				'everyone' => __( 'Everyone, also without an account', 'stagedoor' ),
				'members'  => __( 'Everybody who is logged in', 'stagedoor' ),
				'roles'    => __( 'The roles below', 'stagedoor' ),
			),
			'transport' => array(
				'auto'     => __( 'Automatic', 'stagedoor' ),
				'direct'   => __( 'From the gateway to the browser', 'stagedoor' ),
				'relay'    => __( 'Through this server, as it is written', 'stagedoor' ),
				'buffered' => __( 'Through this server, in one piece', 'stagedoor' ),
			),
			'padding'   => array(
				'auto' => __( 'Where this server needs it (Apache with PHP-FPM)', 'stagedoor' ),
				'on'   => __( 'Always', 'stagedoor' ),
				'off'  => __( 'Never', 'stagedoor' ),
			),
			'ip_source' => array(
				'remote_addr'      => __( 'The connection', 'stagedoor' ),
				'x_forwarded_for'  => __( 'X-Forwarded-For, the last address (behind one proxy of your own)', 'stagedoor' ),
				'cf_connecting_ip' => __( 'CF-Connecting-IP (behind Cloudflare)', 'stagedoor' ),
			),
		);
		return isset( $words[ $name ] ) ? $words[ $name ] : $windows;
	}

	/**
	 * All fields.
	 *
	 * @return array<int, array<string, mixed>>
	 */
	private static function sections() {
		return array(
			array(
				'title'  => __( 'Connection', 'stagedoor' ),
				'fields' => array(
					'base_url'   => array( 'label' => __( 'Gateway address', 'stagedoor' ), 'kind' => 'url', 'help' => __( 'Where this server reaches your Stagedoor gateway.', 'stagedoor' ) ),
					'api_key'    => array( 'label' => __( 'Key of this site', 'stagedoor' ), 'kind' => 'key', 'help' => __( 'The gateway shows it once. It stays on this server: visitors never see it.', 'stagedoor' ) ),
					'public_url' => array( 'label' => __( 'Address for browsers', 'stagedoor' ), 'kind' => 'url', 'help' => __( 'Only if browsers reach the gateway by another address than this server.', 'stagedoor' ) ),
				),
			),
			array(
				'title'  => __( 'Assistant', 'stagedoor' ),
				'text'   => __( 'A chat block or shortcode can have a model and a prompt of its own.', 'stagedoor' ),
				'fields' => array(
					'model'          => array( 'label' => __( 'Model', 'stagedoor' ), 'kind' => 'model', 'help' => __( 'One of the models that the gateway lets this site use; “Test connection” lists them.', 'stagedoor' ) ),
					'system_prompt'  => array( 'label' => __( 'System prompt', 'stagedoor' ), 'kind' => 'area', 'help' => __( 'What the assistant is, knows and must not do. Visitors do not see it.', 'stagedoor' ) ),
					'max_tokens'     => array( 'label' => __( 'Longest answer', 'stagedoor' ), 'kind' => 'number', 'unit' => __( 'tokens', 'stagedoor' ) ),
					'question_chars' => array( 'label' => __( 'Longest question', 'stagedoor' ), 'kind' => 'number', 'unit' => __( 'characters', 'stagedoor' ) ),
					'history_max'    => array( 'label' => __( 'Turns the assistant remembers', 'stagedoor' ), 'kind' => 'number' ),
					'editor'         => array( 'label' => __( 'Writing help in the block editor', 'stagedoor' ), 'kind' => 'switch' ),
				),
			),
			array(
				'title'  => __( 'Limits', 'stagedoor' ),
				'text'   => __( 'Zero means no limit. The gateway’s own spending cap holds whatever is set here.', 'stagedoor' ),
				'fields' => array(
					'who'         => array( 'label' => __( 'Who may ask', 'stagedoor' ), 'kind' => 'choice' ),
					'roles'       => array( 'label' => __( 'Roles', 'stagedoor' ), 'kind' => 'roles' ),
					'limit_guest' => array( 'label' => __( 'Questions of one guest', 'stagedoor' ), 'kind' => 'number', 'window' => 'limit_guest_window' ),
					'limit_user'  => array( 'label' => __( 'Questions of one user', 'stagedoor' ), 'kind' => 'number', 'window' => 'limit_user_window' ),
					'limit_site'  => array( 'label' => __( 'Questions of the whole site', 'stagedoor' ), 'kind' => 'number', 'window' => 'limit_site_window' ),
					'ip_source'   => array( 'label' => __( 'A guest’s address is that of', 'stagedoor' ), 'kind' => 'choice', 'help' => __( 'Behind a proxy all guests have the proxy’s address, unless this says where theirs is. Choose a header only if your proxy always sets it.', 'stagedoor' ) ),
				),
			),
			array(
				'title'  => __( 'Streaming', 'stagedoor' ),
				'fields' => array(
					'transport' => array( 'label' => __( 'How answers travel', 'stagedoor' ), 'kind' => 'choice', 'help' => __( 'Automatic tries them in this order and remembers what works. From the gateway to the browser holds no PHP worker.', 'stagedoor' ) ),
					'relay_max' => array( 'label' => __( 'Answers through this server at once', 'stagedoor' ), 'kind' => 'number', 'help' => __( 'Each holds a PHP worker for as long as it takes. Leave workers for the rest of the site; more visitors wait a moment.', 'stagedoor' ) ),
					'timeout_s' => array( 'label' => __( 'Longest time for an answer', 'stagedoor' ), 'kind' => 'number', 'unit' => __( 'seconds', 'stagedoor' ) ),
					'padding'   => array( 'label' => __( 'Fill pieces up to 4 KiB', 'stagedoor' ), 'kind' => 'choice', 'help' => __( 'Some servers hand on nothing smaller.', 'stagedoor' ) ),
				),
			),
			array(
				'title'  => __( 'Privacy', 'stagedoor' ),
				'fields' => array(
					'retention_days'      => array( 'label' => __( 'Keep conversations', 'stagedoor' ), 'kind' => 'number', 'unit' => __( 'days (0: not at all)', 'stagedoor' ) ),
					'delete_on_uninstall' => array( 'label' => __( 'Delete all of Stagedoor’s data when the plugin is deleted', 'stagedoor' ), 'kind' => 'switch' ),
				),
			),
		);
	}
}
